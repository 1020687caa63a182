"""Where and how a run computes: device, precision, and a description of the hardware for the record."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Compute:
    """A device and the precision of the networks' forward passes on it. Weights and losses are always float32."""

    device: torch.device
    precision: str  # "float32" or "bfloat16"

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


def choose_compute(device: str = "auto", precision: str = "auto", network: str = "") -> Compute:
    """The fastest device that is there and the precision in which it is fastest, or the ones that are asked for.

    Args:
        device: "auto" (CUDA, then Apple, then CPU) or a torch device string such as "cuda:1".
        precision: "auto", "float32" or "bfloat16".
        network: name of the network; the small ones gain nothing from bfloat16 on a CPU, the casts cost more.

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
    return Compute(chosen, precision)


def _bfloat16_is_faster(device: torch.device, network: str) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        matrix_units = capabilities.get("amx_tile") or capabilities.get("avx512_bf16")
        return bool(matrix_units) and network in ("cnn13", "wrn28-2")
    return False


def describe(device: torch.device) -> str:
    """The device in words, for a record: its model name, and the threads in use on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"{platform.processor() or 'Apple'} GPU"
    return f"{_cpu_name()}, {torch.get_num_threads()} threads"


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
