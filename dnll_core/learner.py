"""One iteration of any `Method`: batch, views, loss, step, and the whole state that it needs and changes.

The data set lies on the device as uint8; batches are drawn, augmented and stepped there. A pool that does not fit stays
in host memory (`data.host_pool`). The learner does not know which method it runs, nor epochs, files or evaluation:
these are the trainer's.
"""

from __future__ import annotations

import copy
import math
from functools import partial

import torch
from torch import Tensor

from dnll_core.augment import Augmentation
from dnll_core.common import stream_seed
from dnll_core.config import Experiment
from dnll_core.data.host_pool import HostPool
from dnll_core.data.placing import TrainingData
from dnll_core.device import Compute
from dnll_core.evaluation import in_batches
from dnll_core.methods.base import Batch, Method, Output
from dnll_core.methods.declared import Pool
from dnll_core.methods.turns import checked, of_all_turns
from dnll_core.optimisers import Optimisers
from dnll_core.schedules import Clock, ema_update_, floats
from dnll_core.stages import Stages


def permuted_batches(n: int, batch: int, steps: int, generator: torch.Generator) -> Tensor:
    """Indices of `steps` batches from permutations of range(n), one after the other: (steps, batch) int64.

    Where a batch is larger than n, an image may recur in it; over the epoch no image comes up twice more than another.
    """
    permutations = [torch.randperm(n, generator=generator) for _ in range(math.ceil(steps * batch / n))]
    return torch.cat(permutations)[: steps * batch].view(steps, batch)


class Learner:
    """What one iteration needs and changes.

    Args:
        method: on the CPU or the device; moved there.
        experiment: the optimisation fields are read here.
        data: see `TrainingData`.
        views: "weak" and "strong" augmentations, and "plain", without any change, for what is not training.
        compute: device and precision.
        seed: of batches, views and negatives. Dropout draws from torch's global generator.
    """

    def __init__(
        self,
        method: Method,
        experiment: Experiment,
        data: TrainingData,
        views: dict[str, Augmentation],
        compute: Compute,
        seed: int,
    ):
        self.experiment, self.data, self.views = experiment, data, views
        self.compute, self.seed, self.device = compute, seed, compute.device
        self.method = method.to(self.device, memory_format=torch.channels_last)
        self.method.train()
        self.average = copy.deepcopy(method).requires_grad_(False) if experiment.ema_decay > 0 else None
        self.steps_per_epoch = max(1, len(data.unlabelled) // experiment.unlabelled_batch)
        total = self.steps_per_epoch * experiment.epochs
        self.clock = Clock(torch.zeros((), device=self.device), self.steps_per_epoch, total)
        self.stages = Stages(method, self.clock)
        self.optimisers = Optimisers(method, experiment, self.device)
        self.generator = torch.Generator(self.device).manual_seed(stream_seed(seed, "views and negatives"))
        self.plan: dict[str, Tensor] = {}
        self.losses = torch.zeros(self.steps_per_epoch, device=self.device)  # this epoch's
        self.sums: dict[str, Tensor] = {}  # this epoch's metrics, summed
        self.counts: dict[str, int] = {}  # and over how many iterations

    def draw_batch(self, i: int | Tensor) -> Batch:
        """The images of iteration `i` of the current epoch, one independent draw for each view the method declares.

        Args:
            i: a number, or a 0-dim int64 tensor on the device, which the host then does not wait for.
        """
        labelled, unlabelled = (_row(self.plan[name], i) for name in ("labelled", "unlabelled"))
        x, u = self.data.labelled[labelled], None
        if self.method.unlabelled_views:
            u = self._pooled(i, unlabelled)
        return Batch(
            labelled=tuple(self.views[view](x, self.generator) for view in self.method.labelled_views),
            targets=self.data.targets[labelled],
            unlabelled=tuple(self.views[view](u, self.generator) for view in self.method.unlabelled_views),
            index=unlabelled,
        )

    def _pooled(self, i: int | Tensor, index: Tensor) -> Tensor:
        pool = self.data.unlabelled
        if isinstance(pool, Tensor):
            return pool[index]
        return pool.fetch(i) if isinstance(i, int) else pool.batch

    def iterate(self, i: int | Tensor) -> tuple[Batch, Output]:
        """Lines 3-16 of Algorithm 1: everything of an iteration that happens on the device."""
        batch, outputs = self.draw_batch(i), []
        for name, compute in self.method.turns().items():
            with self.compute.autocast():
                outputs.append(checked(compute(batch, self.clock, self.generator), self.method, name))
            self.optimisers.zero_grad()
            outputs[-1].loss.backward()
            self.optimisers.step(name, self.clock)
        output = of_all_turns(outputs)
        self.method.after_step(batch, output, self.clock)
        if self.average is not None:
            ema_update_(floats(self.average), floats(self.method), self.experiment.ema_decay)
        self.clock.step += 1
        return batch, output

    def account(self, i: int | Tensor, loss: Tensor, metrics: dict[str, Tensor]) -> Tensor:
        """Notes an iteration's loss and adds its metrics to the epoch's sums, in place and on the device."""
        if isinstance(i, int):
            self.losses[i] = loss
        else:
            self.losses.index_copy_(0, i.view(1), loss.view(1))
        for name, value in metrics.items():
            if name not in self.sums or self.sums[name].shape != value.shape:
                self.sums[name] = torch.zeros_like(value)
            self.sums[name] += value
        return loss

    # -- between iterations --------------------------------------------------------------------------------------------

    def begin(self, step: int) -> bool:
        """What comes before iteration `step` of the run: hooks of the method, and the plan. Whether a stage begins."""
        epoch, place = divmod(step, self.steps_per_epoch)
        begins = step in self.stages.starts
        if begins or place == 0:
            look = partial(in_batches, view=self.views["plain"], generator=self.generator, compute=self.compute)
            pool = Pool(self.data.labelled, self.data.targets, self.data.unlabelled, look)
            if self.stages.call_hooks(step, epoch, pool, self.generator):
                self.optimisers.restart()
                if self.average is not None:
                    self.average.load_state_dict(self.method.state_dict())
        if begins or place == 0 or not self.plan:
            self.plan_epoch(epoch)
        return begins

    def plan_epoch(self, epoch: int) -> None:
        """Draws the epoch's batches: a pure function of seed, epoch, stage and rows, which no checkpoint need hold."""
        e, steps, pool, rows = self.experiment, self.steps_per_epoch, len(self.data.unlabelled), self.method.rows()
        purpose = f"batches of epoch {epoch}" + (f", stage {self.method.stage}" if self.method.stage else "")
        generator = torch.Generator().manual_seed(stream_seed(self.seed, purpose))
        drawn = {"labelled": permuted_batches(len(self.data.labelled), e.labelled_batch, steps, generator)}
        places = permuted_batches(pool if rows is None else len(rows), e.unlabelled_batch, steps, generator)
        drawn["unlabelled"] = places if rows is None else rows.cpu()[places]
        for name, batches in drawn.items():
            if name in self.plan:
                self.plan[name].copy_(batches)  # in place: a captured iteration reads this very memory
            else:
                self.plan[name] = batches.to(self.device)
        if isinstance(self.data.unlabelled, HostPool) and self.method.unlabelled_views:
            self.data.unlabelled.start(self.plan["unlabelled"].cpu())

    def clear_sums(self) -> None:
        for value in self.sums.values():
            value.zero_()  # in place: a captured iteration adds to this very memory

    # -- its state -----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the rest of the run depends on, by name; not copied."""
        tensors = {f"method.{name}": value for name, value in self.method.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        tensors |= self.optimisers.state()
        tensors |= {f"sum.{name}": value for name, value in self.sums.items()}
        tensors |= {"losses": self.losses, "clock": self.clock.step}
        tensors |= {"rng.generator": self.generator.get_state(), "rng.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self.device)
        return tensors

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts back what `state` gave, in place: this keeps the memory format, and with it the order of summation."""
        modules = {"method": self.method} | ({"average": self.average} if self.average is not None else {})
        for prefix, module in modules.items():
            for name, value in module.state_dict().items():
                value.copy_(tensors[f"{prefix}.{name}"])
        self.optimisers.restore(tensors)
        self.losses.copy_(tensors["losses"])
        self.clock.step.copy_(tensors["clock"])
        self.clear_sums()
        for name, value in tensors.items():
            if name.startswith("sum."):
                self.sums.setdefault(name[4:], torch.zeros_like(value, device=self.device)).copy_(value)
        self.generator.set_state(tensors["rng.generator"])
        torch.set_rng_state(tensors["rng.cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng.cuda"], self.device)


def _row(table: Tensor, i: int | Tensor) -> Tensor:
    """table[i]; a tensor i is not looked at by the host, as plain indexing would."""
    return table[i] if isinstance(i, int) else table.index_select(0, i.view(1)).squeeze(0)
