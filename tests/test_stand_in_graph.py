"""The captured iteration of every method without a GPU: a graph that writes down each operation and does it again.

What CUDA does when it captures, done on a CPU: operations are recorded with the memory that they read and wrote, a
replay repeats them in that memory without running any Python of the iteration, and whatever would make the host wait
for the device is refused. Only the order in which a GPU sums and its streams are not to be seen here.
"""

import contextlib
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from test_captured import KINDS, assert_same, trained
from torch.utils._python_dispatch import TorchDispatchMode

from dnll_core import captured
from dnll_core.captured import CapturedStep, try_to_capture
from dnll_core.config import Experiment
from dnll_core.run import prepare

# the host would have to know values: a number, or how many elements a result has
HOST_READS = {"_local_scalar_dense", "item", "nonzero", "masked_select", "unique", "_unique2", "equal", "is_nonzero"}


class Graph(TorchDispatchMode):
    """Records operations while it is entered; `replay` repeats them in the same memory."""

    def __init__(self):
        super().__init__()
        self.operations, self.generators = [], []

    def register_generator_state(self, generator):
        self.generators.append(generator)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function._schema.name.removeprefix("aten::")
        if name in HOST_READS or (name in ("index", "index_put_") and _by_mask(args[1])):
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        given = _tensors((args, kwargs))
        if (generator := kwargs.get("generator")) is not None:
            # torch wraps a generator anew for each call: it is known by its state
            known = any(torch.equal(generator.get_state(), mine.get_state()) for mine in self.generators)
            assert known, f"{name} draws from a generator that the graph does not know"
        out = function(*args, **kwargs)
        writes = any(a.alias_info is not None and a.alias_info.is_write for a in function._schema.arguments)
        results = _tensors(out)
        storages = {t.untyped_storage().data_ptr() for t in given}
        views = bool(results) and all(r.untyped_storage().data_ptr() in storages and r.numel() for r in results)
        if writes or not views:  # a view of memory that lasts needs no repetition
            self.operations.append((function, args, kwargs, None if writes else results))
        return out

    @torch.no_grad()
    def replay(self):
        for function, args, kwargs, results in self.operations:
            out = function(*args, **kwargs)
            for old, new in zip(results or [], _tensors(out), strict=results is not None):
                assert old.shape == new.shape
                old.copy_(new)


def _by_mask(indices):
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)


def _tensors(tree):
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


@pytest.fixture
def stand_in(monkeypatch):
    """torch.cuda's graphs and streams as far as `CapturedStep` uses them. Gives the graphs that were made."""
    made, stream = [], SimpleNamespace(wait_stream=lambda other: None)

    @contextlib.contextmanager
    def recording(graph, stream):
        made.append(graph)
        with graph:
            yield

    for name, value in {
        "device": lambda device: contextlib.nullcontext(),
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "CUDAGraph": Graph,
        "graph": recording,
        "synchronize": lambda device: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(captured, "DEVICE", "cpu")
    # on a CPU it looks whether the classes are in range, on CUDA it does not
    monkeypatch.setattr(F, "one_hot", lambda classes, k: (classes.unsqueeze(-1) == torch.arange(k)).long())
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_replay_is_the_iteration_to_the_last_bit(stand_in, kind):
    """Ten iterations over three epochs: every draw, step, memory and average, with no Python run but the replay."""
    plain, replayed = trained(10, **KINDS[kind]), trained(10, how="captured", **KINDS[kind])
    assert_same(plain, replayed, 0)
    assert len(stand_in) == len(replayed.learner.method.stages) or kind in ("curriculum-labeling", "dmt")  # 10 of 12
    for graph in stand_in:
        assert graph.generators == [replayed.learner.generator]
        assert len(graph.operations) > 50


@pytest.mark.parametrize("network", ["cnn13", "wrn28-2"])
def test_large_networks_in_bfloat16(stand_in, network):
    fields = {"network": network, "size": 12, "unlabelled_batch": 16, "labelled_batch": 10, "precision": "bfloat16"}
    assert_same(trained(2, **fields), trained(2, how="captured", **fields), 0)


def test_recording_leaves_the_state_as_it_was(stand_in):
    learner = trained(3, method="mean-teacher", ema_decay=0.9).learner
    before = {name: tensor.clone() for name, tensor in learner.state().items()}
    CapturedStep(learner)
    for name, tensor in learner.state().items():
        assert torch.equal(tensor, before[name]), name


def _fresh(**fields):
    e = Experiment(labels=20, labelled_batch=20, unlabelled_batch=256, epochs=3, **fields)
    return prepare(e, 0, device="cpu", progress=False)[0].learner


def _looks(learner):
    """An iteration whose host looks at a value, as any() or a boolean index does."""
    iterate = learner.iterate
    return lambda i: iterate(i) if learner.clock.step >= 0 else None


def _counts_in_python(learner):
    """An iteration that keeps in Python what belongs on the device: a replay does not count on."""
    iterate, seen = learner.iterate, []

    def other(i):
        seen.append(i)
        return iterate(torch.tensor(len(seen) % 4))

    return other


@pytest.mark.parametrize(
    ("wrong", "said"), [(_looks, "not permitted when stream is capturing"), (_counts_in_python, "its replay has")]
)
def test_an_iteration_that_cannot_be_replayed_runs_plainly(stand_in, wrong, said):
    """Both faults end in a warning and the plain step; the stand-in is as strict as CUDA."""
    learner = _fresh()
    learner.iterate = wrong(learner)
    with pytest.warns(UserWarning, match=said):
        assert try_to_capture(learner) is None
