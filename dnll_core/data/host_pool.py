"""Unlabelled images that do not fit on the device: fetched from host memory one batch ahead."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

AHEAD = 4  # batches that are gathered before their iteration


class HostPool:
    """Unlabelled images that stay in host memory: a thread gathers each batch while the device is at the ones before.

    Nothing is copied but the batches, so the images may as well be memory-mapped.

    Args:
        images: (N, C, H, W) uint8 on the CPU, in any memory format. rows: (M,) int64, those that make up the pool.
        device: where batches go. On CUDA by way of pinned memory, without the host waiting for it.
    """

    def __init__(self, images: Tensor, rows: Tensor, device: torch.device):
        self.images, self.rows, self.device = images, rows, device
        self.batch: Tensor | None = None  # (U, C, H, W) uint8 on the device, the images of the last `fetch`
        self._array = _in_memory_order(images).numpy()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._pending: dict[int, Future[None]] = {}
        self._plan: Tensor | None = None
        self._slots: list[Tensor] = []
        self._copied: list[torch.cuda.Event] = []

    def __reduce__(self) -> tuple:
        """For pickle and deepcopy: without its thread and what that has gathered, but with the epoch's plan."""
        return HostPool, (self.images, self.rows, self.device), self._plan

    def __setstate__(self, plan: Tensor) -> None:
        self.start(plan)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """Some of the pool's images, copied, on the CPU."""
        return self.images[self.rows[index]]

    def start(self, plan: Tensor) -> None:
        """Begins an epoch. plan: (steps, U) int64 on the CPU, places in the pool."""
        self._forget()
        self._plan = plan
        if not self._slots:
            shape = (plan.shape[1], *self._array.shape[1:])
            pinned = self.device.type == "cuda"
            self._slots = [torch.empty(shape, dtype=torch.uint8, pin_memory=pinned) for _ in range(AHEAD + 1)]
            if pinned:
                self._copied = [torch.cuda.Event() for _ in self._slots]
                self.batch = _like(torch.empty(shape, dtype=torch.uint8, device=self.device), self.images)

    def fetch(self, i: int) -> Tensor:
        """The images of iteration `i` of the epoch, in `batch`, where they stay until the next `fetch`."""
        if i not in self._pending:
            self._forget()
        for j in range(i, min(i + AHEAD, len(self._plan))):
            if j not in self._pending:
                self._pending[j] = self._worker.submit(self._gather, j)
        self._pending.pop(i).result()
        slot = i % len(self._slots)
        gathered = _like(self._slots[slot], self.images)
        if self.device.type == "cpu":
            self.batch = gathered
        elif self.device.type == "cuda":
            self.batch.copy_(gathered, non_blocking=True)  # in place: a captured iteration reads this very memory
            self._copied[slot].record()
        else:
            self.batch = gathered.to(self.device)
        return self.batch

    def _gather(self, i: int) -> None:
        slot = i % len(self._slots)
        if self._copied:
            self._copied[slot].synchronize()  # its last batch may still be on its way
        # NumPy, because it stays on this thread; "clip" writes to `out` without a copy between
        rows = self.rows[self._plan[i]].numpy()
        np.take(self._array, rows, axis=0, out=self._slots[slot].numpy(), mode="clip")

    def _forget(self) -> None:
        for future in self._pending.values():
            future.cancel()
            if not future.cancelled():
                future.result()
        self._pending.clear()


def _in_memory_order(images: Tensor) -> Tensor:
    """(N, C, H, W) or, where channels come last in memory, the same as (N, H, W, C)."""
    return images if images.is_contiguous() else images.permute(0, 2, 3, 1)


def _like(gathered: Tensor, images: Tensor) -> Tensor:
    """Undoes `_in_memory_order` for rows of `images`."""
    return gathered if images.is_contiguous() else gathered.permute(0, 3, 1, 2)
