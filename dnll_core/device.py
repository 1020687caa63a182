"""Where and how a run computes: device, precision, threads and torch's global state; the hardware, for the record."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dnll_core.common import stream_seed
from dnll_core.fields import ConfigError

ONE_THREAD = ("small", "cnn6", "cnn3")  # on a CPU
ALONE, _at_work = threading.RLock(), []  # torch's global generator and number of threads are the process's
PARALLEL: set[int] = set()  # processes in which a run has used several threads; a forked one inherits its parent's
FLOAT32 = ("small", "cnn6")  # on a CPU: their recorded numbers are to be had on processors without bfloat16, too


@dataclass(frozen=True)
class Compute:
    """A device and the precision of the networks' forward passes on it. Weights and losses are always float32."""

    device: torch.device
    precision: str  # "float32" or "bfloat16"
    threads: int | None  # on a CPU; None elsewhere

    def autocast(self) -> torch.autocast:
        """The context of the forward passes.

        On CUDA a weight is cast anew in each pass, because a recorded iteration runs passes in several streams, which
        would share a cached cast. In the one such run on an H200 WRN-28-2's second submodel fell far behind; CNN-13,
        whose normalised weights are never cached, did not. That the cache was the cause is likely, not shown.
        """
        on, cached = self.precision == "bfloat16", self.device.type != "cuda"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=on, cache_enabled=cached)

    @contextlib.contextmanager
    def own_threads(self) -> Iterator[None]:
        """Uses `threads` inside the block, and the caller's number again afterwards.

        Raises:
            RuntimeError: for several threads in a process that was forked off one that has used several, as then they
                wait for each other for ever.
        """
        if self.threads is not None and self.threads > 1:
            if PARALLEL - {os.getpid()}:
                raise RuntimeError(
                    f"{self.threads} threads cannot be used in a process that was forked after a run with several "
                    'threads. Start processes with multiprocessing.get_context("spawn"), or set OMP_NUM_THREADS=1.'
                )
            PARALLEL.add(os.getpid())
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def describe(self) -> str:
        """The hardware in words, for a record: its model name, and the threads in use on a CPU."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        if self.device.type == "mps":
            return "Apple GPU"
        return f"{cpu_name()}, {self.threads} thread{'s' * (self.threads != 1)}"


@contextlib.contextmanager
def one_run() -> Iterator[None]:
    """Waits until no other thread of this process trains.

    Raises:
        ConfigError: if this one does, or is inside `torch.autocast`, which would keep old casts of weights.
    """
    if any(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")):
        raise ConfigError("train cannot be called inside torch.autocast; the argument precision says what is cast.")
    with ALONE:
        if _at_work:
            raise ConfigError("train cannot be called while this thread trains already, as from an observer.")
        _at_work.append(True)
        try:
            yield
        finally:
            _at_work.clear()


@contextlib.contextmanager
def usual_torch() -> Iterator[None]:
    """Torch's switches as they are in a new process, whatever the caller has set, and the caller's again afterwards.

    Default dtype and device, whether gradients are kept, and the precision of float32 products.
    """
    dtype = torch.get_default_dtype()
    # only those that were changed: torch has two ways to say so, and refuses to be told in both
    products = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv]
    lowered = {
        product: product.fp32_precision for product in products if product.fp32_precision not in ("none", "ieee")
    }
    # as a mode of torch's it slows every call, so only where it is needed
    on_cpu = torch.device("cpu") if torch.get_default_device().type != "cpu" else contextlib.nullcontext()
    with torch.inference_mode(False), torch.enable_grad(), on_cpu:
        try:
            torch.set_default_dtype(torch.float32)
            for product in lowered:
                product.fp32_precision = "ieee"
            yield
        finally:
            torch.set_default_dtype(dtype)
            for product, precision in lowered.items():
                product.fp32_precision = precision


@contextlib.contextmanager
def own_random_state(device: torch.device, seed: int, purpose: str = "dropout") -> Iterator[None]:
    """Seeds torch's global generators for one purpose of a run, and gives the caller's state back afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(stream_seed(seed, purpose))
        yield


def choose_compute(device: str = "auto", precision: str = "auto", network: str = "") -> Compute:
    """The fastest device that is there and the precision in which it is fastest, or the ones that are asked for.

    Args:
        device: "auto" (CUDA, then Apple, then CPU) or a torch device string such as "cuda:1".
        precision: "auto", "float32" or "bfloat16".
        network: name of the network. On a CPU those of ONE_THREAD gain nothing from a second thread, and with one a
            run is the same on machines with other numbers of cores; those of FLOAT32 compute in it.

    Raises:
        ValueError: for an unknown name or a device that this machine does not have.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision={precision!r} is not known; accepted: auto, float32, bfloat16.")
    if device == "auto":
        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        chosen = torch.device(found)
    else:
        try:
            chosen = torch.device(device)
            torch.empty(1, device=chosen)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"device={device!r} cannot be used here: {str(error).splitlines()[0]}") from None
    if precision == "auto":
        precision = "bfloat16" if _bfloat16_is_faster(chosen, network) else "float32"
    threads = None
    if chosen.type == "cpu":
        threads = 1 if network in ONE_THREAD else torch.get_num_threads()
    return Compute(chosen, precision, threads)


def _bfloat16_is_faster(device: torch.device, network: str) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool(_bfloat16_units()) and network not in FLOAT32
    return False


def _bfloat16_units() -> str:
    """The processor's units for bfloat16: "AMX", "BF16" (of AVX-512), or "" without any."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if capabilities.get("amx_tile") or capabilities.get("amx_bf16"):
        return "AMX"
    return "BF16" if capabilities.get("avx512_bf16") else ""


def processor() -> str:
    """The processor's model name and the instructions that PyTorch uses, for example "AMD EPYC, AVX512 with BF16".

    Processors of one name differ in the latter, and round differently.
    """
    units = _bfloat16_units()
    return f"{cpu_name()}, {torch.backends.cpu.get_cpu_capability()}" + (f" with {units}" if units else "")


def cpu_name() -> str:
    """The processor's model name, as far as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def side_by_side(
    work: Sequence[Callable[[], list]], device: torch.device, inputs: Sequence[Sequence[Tensor]]
) -> list[list]:
    """The results of all `work`, one after the other; while a CUDA graph is recorded, in parallel streams.

    A backward pass takes the stream of its forward pass, so it is parallel too. Without a graph the host launches too
    slowly for it to matter.

    Args:
        inputs: of each work, the tensors it reads. A stream may reuse the memory of what was allocated on it as soon as
            nothing on the host holds it, though another stream still reads it: so both ways CUDA is told of the reader.

    Raises:
        ValueError: if these are not as many as `work`, with or without a graph.
    """
    if len(inputs) != len(work):
        raise ValueError(f"side_by_side takes the inputs of each of {len(work)} works, not of {len(inputs)}.")
    if device.type != "cuda" or len(work) == 1 or not torch.cuda.is_current_stream_capturing():
        return [each() for each in work]
    trunk, branches, outputs = torch.cuda.current_stream(), [torch.cuda.Stream() for _ in work[1:]], []
    for branch in branches:
        branch.wait_stream(trunk)
    for each, branch in zip(work, [trunk, *branches]):
        with torch.cuda.stream(branch):
            outputs.append(each())
    for branch, read, written in zip(branches, inputs[1:], outputs[1:]):
        trunk.wait_stream(branch)
        for tensor in read:
            tensor.record_stream(branch)
        for result in written:
            for tensor in result if isinstance(result, tuple) else (result,):
                tensor.record_stream(trunk)
    return outputs
