"""Is there room? What surely does not fit is refused before any work, with what it takes and what is free."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from dnll_core.fields import ConfigError

CPU = torch.device("cpu")
GROUPS = Path("/sys/fs/cgroup")
# Files of a container's own limit, below GROUPS, and the line that says what it uses: control groups 2, then 1.
LIMITS = (("memory.max", "memory.stat", "anon"), ("memory/memory.limit_in_bytes", "memory/memory.stat", "total_rss"))
TOLD = ("can't allocate memory", "could not create a memory", "bad_alloc", "bad allocation", "out of memory")


class OutOfMemory(ConfigError):
    """An allocation that failed: what was asked for may fit another time."""


def free_memory(device: torch.device = CPU) -> int:
    """Bytes that this process may still take on a device, as far as the system says."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    import psutil  # here: the package is imported far more often than memory is looked at

    return max(0, min([psutil.virtual_memory().available, *_of_container(), *_of_process()]))


def _of_container() -> Iterator[int]:
    """What a container's limit leaves, of which the system's free memory knows nothing."""
    for limit, stat, used in LIMITS:
        with contextlib.suppress(OSError, ValueError, KeyError):  # "max" is no number
            lines = dict(line.split() for line in (GROUPS / stat).read_text(encoding="ascii").splitlines())
            yield int((GROUPS / limit).read_text(encoding="ascii")) - int(lines[used])


def _of_process() -> Iterator[int]:
    """What a limit of this process (ulimit -v) leaves."""
    try:
        import resource  # not on Windows
    except ImportError:
        return
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        import psutil

        yield most - psutil.Process().memory_info().vms


def check_room(needed: float, what: str, device: torch.device = CPU) -> None:
    """Refuses what takes more memory than is free on a device.

    needed: bytes. what: takes them, in words, with the fields and their values.

    Raises:
        ConfigError: with both numbers.
    """
    free = free_memory(device)
    if needed > free:
        raise ConfigError(f"{what} takes at least {_words(needed)} of memory, and {_words(free)} are free ({device}).")


def _words(size: float) -> str:
    return f"{min(size, 2**80) / 2**30:,.1f} GiB"  # of more no float can be made


def is_out_of_memory(error: Exception) -> bool:
    """Whether that is why something failed. Torch has no kind of error of its own for a CPU's memory."""
    told = isinstance(error, RuntimeError) and any(words in str(error).lower() for words in TOLD)
    return told or isinstance(error, MemoryError)


@contextlib.contextmanager
def out_of_memory(what: str, device: torch.device = CPU) -> Iterator[None]:
    """What fails for want of memory in this block is an OutOfMemory that says so, whoever was the first to notice.

    what: takes it, in words.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        free = _words(free_memory(device))
        raise OutOfMemory(f"{what} takes more memory than there is; {free} are free now ({device}).") from error
