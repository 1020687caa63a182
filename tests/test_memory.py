"""What surely does not fit is refused before any work, with what it takes and what is free."""

from types import SimpleNamespace

import psutil
import pytest
import torch

from dnll_core import Experiment, load_data, memory, run
from dnll_core.augment import Augmentation
from dnll_core.config import METHODS
from dnll_core.data.images import read_pictures
from dnll_core.device import choose_compute
from dnll_core.evaluation import in_batches
from dnll_core.fields import ConfigError
from dnll_core.memory import check_room, free_memory, out_of_memory
from dnll_core.methods.improved_gan import Dense
from dnll_core.run import prepare

GIB = 2**30


@pytest.fixture
def free(monkeypatch):
    """A function: so many bytes are free."""

    def set_free(size):
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=size))
        monkeypatch.setattr(memory, "LIMITS", ())

    return set_free


def test_free_is_what_the_system_says(free):
    free(3 * GIB)
    assert free_memory() == 3 * GIB


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "3000\n", "memory.stat": "anon 1000\nfile 900\n"}, 2000),  # of files the cache can be freed
        ({"memory.max": "max\n", "memory.stat": "anon 1000\n"}, 10_000),
        ({"memory/memory.limit_in_bytes": "5000", "memory/memory.stat": "rss 1\ntotal_rss 500\n"}, 4500),
        ({"memory.max": "100\n", "memory.stat": "anon 1000\n"}, 0),
        ({"memory.max": "3000\n"}, 10_000),
        ({}, 10_000),
    ],
)
def test_a_container_has_a_limit_of_its_own(files, left, tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000))
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    assert free_memory() == left


def test_a_process_may_have_one_too(free, monkeypatch):
    resource = pytest.importorskip("resource")
    free(GIB**2)
    used = psutil.Process().memory_info().vms
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (used + 5 * GIB, used + 6 * GIB))
    assert abs(free_memory() - 5 * GIB) < GIB


def test_what_does_not_fit_is_refused_with_both_numbers(free):
    free(GIB)
    check_room(GIB, "this")
    with pytest.raises(ConfigError, match=r"^this takes at least 1.5 GiB of memory, and 1.0 GiB are free \(cpu\)\.$"):
        check_room(1.5 * GIB, "this")
    with pytest.raises(ConfigError, match=r"takes at least 1,125,899,906,842,624.0 GiB of memory, and 1.0 GiB"):
        check_room(10**400, "of this no float can be made: it")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: 8 bytes"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("could not create a memory object"),
    ],
)
def test_what_fails_for_want_of_memory_says_so(error, free):
    free(GIB)
    message = r"^this takes more memory than there is; 1.0 GiB are free now \(cpu\)\.$"
    with pytest.raises(ConfigError, match=message), out_of_memory("this"):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("another"), ConfigError("another"), KeyError("memory")])
def test_what_fails_for_another_reason_does_not(error):
    with pytest.raises(type(error), match=str(error)), out_of_memory("this"):
        raise error


SMALL = {"labels": 20, "labelled_batch": 20, "unlabelled_batch": 64, "epochs": 1, "rounds": 1, "lp_start": 0.5}


def test_an_allocation_that_fails_is_the_experiments_fault(monkeypatch):
    """Torch is asked for more than there is, and is the one that says so."""
    from dnll_core import train

    def ask(batch, output):
        torch.empty(2**60, dtype=torch.uint8)

    message = "^labelled_batch=20, unlabelled_batch=64: training takes more memory than there is"
    with pytest.raises(ConfigError, match=message):
        train(Experiment(**SMALL), 0, progress=False, observer=ask)


def test_a_checkpoint_that_does_not_fit_is_a_warning_and_training_goes_on(tmp_path, monkeypatch):
    asked = []

    def refuse(needed, what):
        asked.append(needed)
        check_room(2**60, what)

    monkeypatch.setattr("dnll_core.trainer.check_room", refuse)
    message = r"no checkpoint was written to .* \(a checkpoint takes at least 1,073,741,824.0 GiB .*; training goes on"
    with pytest.warns(UserWarning, match=message):
        done = run.train(Experiment(**SMALL), 0, checkpoint=tmp_path, progress=False)
    assert done.trainer.is_finished and not (tmp_path / "checkpoint.safetensors").exists()
    monkeypatch.undo()
    done.trainer.save(tmp_path)
    size = (tmp_path / "checkpoint.safetensors").stat().st_size
    assert 0.9 * 2 * size < asked[0] < 2 * size


class _Bytes:
    """Counts the bytes that a training iteration keeps for its backward pass, and its images."""

    def __init__(self):
        self.seen = {}

    def __call__(self, tensor):
        self.seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor


@pytest.mark.parametrize("method", METHODS)
def test_no_batch_is_refused_that_would_fit(method, free, monkeypatch):
    """What is asked for is less than what an iteration keeps for its backward pass, and no small part of it.

    Of the networks it is what they, their average, optimisers and gradients take in the end.
    """
    asked = []
    monkeypatch.setattr("dnll_core.trial.check_room", lambda needed, what, *_: asked.append(needed))
    e = Experiment(**SMALL, network="wrn28-2", own_networks=False, method=method, ema_decay=0.9)
    trainer, _ = prepare(e, 0, progress=False)
    learner, kept = trainer.learner, _Bytes()
    networks, plan, batch = asked
    assert plan == 16 * learner.steps_per_epoch * (20 + 64)
    most, gradients, step_of = 0, [], learner.optimisers.step

    def note(*how):
        gradients.append(sum(p.grad.nbytes for p in learner.optimisers.parameters if p.grad is not None))
        step_of(*how)

    monkeypatch.setattr(learner.optimisers, "step", note)
    for step in learner.stages.starts:
        learner.clock.step.fill_(step)
        learner.begin(step)
        kept.seen.clear()
        with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
            learner.iterate(step % learner.steps_per_epoch)
        most = max(most, sum(kept.seen.values()))
    assert 0.05 * most < batch < most
    held = [*learner.method.parameters(), *learner.average.parameters()]
    held += [*learner.method.buffers(), *learner.average.buffers()]
    held += [value for name, value in learner.optimisers.state().items() if not name.startswith("steps")]
    assert networks == sum(tensor.nbytes for tensor in held) + max(gradients)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("method", ["improved-gan", "triple-gan"])
def test_networks_that_grow_with_the_image_are_refused_before_they_are_made(method, own, free, monkeypatch):
    made, init = [], Dense.__init__

    def noted(self, *sizes, **how):
        init(self, *sizes, **how)
        made.append(self.v.device.type)

    monkeypatch.setattr(Dense, "__init__", noted)
    free(GIB // 4)
    message = rf"^method='{method}', size=256: learning networks for images of 1 channel and 256x256 pixels takes at "
    with pytest.raises(ConfigError, match=message):
        prepare(Experiment(**SMALL, network="small", own_networks=own, method=method, size=256), 0, progress=False)
    assert {*made} == {"meta"}


def test_what_fails_before_the_first_iteration_for_want_of_memory_says_so(monkeypatch):
    """In the networks, where it is no fault of the image's size, and elsewhere."""

    def fail(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.")

    message = "^labelled_batch=20, unlabelled_batch=64: what a run begins with takes more memory than there is"
    for place in ("dnll_core.run.build_network", "dnll_core.run.load_data", "dnll_core.models.Network.features"):
        with monkeypatch.context() as patched, pytest.raises(ConfigError, match=message):
            patched.setattr(place, fail)
            prepare(Experiment(**SMALL), 0, progress=False, load=lambda *how, **more: run.load_data(*how, **more))


def test_a_batch_and_a_plan_that_do_not_fit_are_named(free):
    free(GIB)
    with pytest.raises(ConfigError, match=r"^labelled_batch=65536, unlabelled_batch=128, size=32: a batch of "):
        prepare(Experiment(labels=20, labelled_batch=65536, size=32), 0, progress=False)
    with pytest.raises(ConfigError, match=r"unlabelled_batch=1: the plan of an epoch of 1077 iterations takes at"):
        prepare(Experiment(labels=20, labelled_batch=65536, unlabelled_batch=1), 0, progress=False)


def test_images_that_do_not_fit_are_not_read(free, tmp_path):
    free(2**20)
    with pytest.raises(ConfigError, match=r"^size=1000: 1297 images takes? at least 1.2 GiB"):
        load_data("digits", size=1000)
    with pytest.raises(ConfigError, match=r"^size=1000: 2 images"):
        read_pictures([tmp_path / "a.png", tmp_path / "b.png"], 1000, False)


def test_large_images_are_evaluated_a_few_at_a_time():
    """The answers are the same; a batch of a thousand would take gigabytes."""
    seen, compute = [], choose_compute("cpu", "float32")

    class Means(torch.nn.Module):
        def forward(self, x):
            seen.append(tuple(x.shape))
            return x.flatten(1)[:, :3]

    images = torch.randint(256, (41, 3, 256, 256), dtype=torch.uint8)
    view = Augmentation("identity", (0.5,) * 3, (0.5,) * 3)
    found = in_batches(Means(), images, view, torch.Generator(), compute)
    assert torch.equal(found, view(images, torch.Generator()).flatten(1)[:, :3])
    assert sum(shape[0] for shape in seen) == 41 and max(shape[0] for shape in seen) <= 25
