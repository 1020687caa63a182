"""The loop of Algorithm 1 for any `Method`: batches, views, steps, evaluation, checkpoints and resume.

The data set lies on the device as uint8; batches are drawn, augmented and stepped there. A pool that does not fit stays
in host memory (`batches.HostPool`). The trainer does not know which method it runs. One epoch is one pass over the
unlabelled images, less the remainder of the last batch.
"""

from __future__ import annotations

import contextlib
import copy
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from dnll_core import resume
from dnll_core.augment import Augmentation
from dnll_core.batches import HostPool, TrainingData, permuted_batches
from dnll_core.captured import WORTH_CAPTURING, CapturedStep, try_to_capture
from dnll_core.common import stream_seed
from dnll_core.config import Experiment
from dnll_core.console import deferred_interrupt, progress_bar
from dnll_core.device import Compute
from dnll_core.domain import without_labels
from dnll_core.evaluation import accuracy, in_batches
from dnll_core.methods.base import Batch, Method, Output
from dnll_core.schedules import Clock, cosine, ema_update_

CHECK_EVERY = 50  # iterations between looks at the loss; each look waits for the device
CRITERION_IMAGES = 5000  # of the unlabelled pool, or a few more, for the criteria that need no labels


# Sees each iteration, changes nothing; what it returns (0-dim tensors) is averaged over the epoch into the history.
Observer = Callable[[Batch, Output], dict[str, Tensor] | None]


class TrainingDiverged(RuntimeError):
    """The loss stopped being finite. The last good checkpoint, if the run keeps one, is still there."""


class Trainer:
    """One run. Build it, `load` a checkpoint if there is one, call `fit`.

    Args:
        method: on the CPU or the device; moved there.
        experiment: the optimisation fields are read here.
        data: see `TrainingData`.
        views: "weak" and "strong" augmentations.
        plain: the augmentation without any change, for evaluation.
        compute: device and precision.
        seed: of batches, views and negatives. Dropout draws from torch's global generator.
    """

    def __init__(
        self,
        method: Method,
        experiment: Experiment,
        data: TrainingData,
        views: dict[str, Augmentation],
        plain: Augmentation,
        compute: Compute,
        seed: int,
    ):
        self.experiment, self.data, self.views, self.plain = experiment, data, views, plain
        self.compute, self.seed, self.device = compute, seed, compute.device
        self.method = method.to(self.device, memory_format=torch.channels_last)
        self.method.train()
        self.average = copy.deepcopy(method).requires_grad_(False) if experiment.ema_decay > 0 else None
        self.steps_per_epoch = max(1, len(data.unlabelled) // experiment.unlabelled_batch)
        total = self.steps_per_epoch * experiment.epochs
        self.clock = Clock(torch.zeros((), device=self.device), self.steps_per_epoch, total)
        self.parameters = [p for p in self.method.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(
            self.parameters,
            lr=torch.tensor(experiment.lr, device=self.device),
            momentum=experiment.momentum,
            nesterov=experiment.nesterov,
            weight_decay=experiment.weight_decay,
            fused=True,
        )
        self.generator = torch.Generator(self.device).manual_seed(stream_seed(seed, "views and negatives"))
        self.step = 0
        self.plan: dict[str, Tensor] = {}
        self.losses = torch.zeros(self.steps_per_epoch, device=self.device)  # this epoch's
        self.sums: dict[str, Tensor] = {}  # this epoch's metrics, summed
        self.counts: dict[str, int] = {}  # and over how many iterations
        self.history: list[dict] = []
        self.seconds = 0.0  # spent in `fit`, over all its interruptions
        self.observer: Observer | None = None
        self.may_capture = self.device.type == "cuda"
        self.source = ""  # hash of the package's source, and of those that earlier parts of a continued run had
        self.earlier_sources: list[str] = []
        self.captured: CapturedStep | None = None  # the iteration as a CUDA graph; `fit` records it where that pays

    # -- one iteration -------------------------------------------------------------------------------------------------

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
        batch = self.draw_batch(i)
        with self.compute.autocast():
            output = self.method.compute(batch, self.clock, self.generator)
        self.optimizer.zero_grad(set_to_none=True)
        output.loss.backward()
        self.optimizer.param_groups[0]["lr"].copy_(self.experiment.lr * cosine(self.clock))
        self.optimizer.step()
        self.method.after_step(batch, output, self.clock)
        if self.average is not None:
            ema_update_(_floats(self.average), _floats(self.method), self.experiment.ema_decay)
        self.clock.step += 1
        return batch, output

    def train_step(self, i: int) -> Tensor:
        """One iteration and its bookkeeping. Returns the loss, 0-dim, without waiting for it."""
        if self.captured is not None and self.observer is None:
            loss, names = self.captured.replay(i), self.captured.metrics
        else:
            batch, output = self.iterate(i)
            seen = self.observer(batch, output) if self.observer is not None else None
            names = output.metrics | (seen or {})
            loss = self.account(i, output.loss.detach(), names)
        for name in names:
            self.counts[name] = self.counts.get(name, 0) + 1
        return loss

    def account(self, i: int | Tensor, loss: Tensor, metrics: dict[str, Tensor]) -> Tensor:
        """Notes an iteration's loss and adds its metrics to the epoch's sums, in place and on the device."""
        if isinstance(i, int):
            self.losses[i] = loss
        else:
            self.losses.index_copy_(0, i.view(1), loss.view(1))
        for name, value in metrics.items():
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(value)
            self.sums[name] += value
        return loss

    def plan_epoch(self, epoch: int) -> None:
        """Draws the epoch's batches: a pure function of (seed, epoch), so a checkpoint need not hold it."""
        e, steps = self.experiment, self.steps_per_epoch
        generator = torch.Generator().manual_seed(stream_seed(self.seed, f"batches of epoch {epoch}"))
        drawn = {
            "labelled": permuted_batches(len(self.data.labelled), e.labelled_batch, steps, generator),
            "unlabelled": permuted_batches(len(self.data.unlabelled), e.unlabelled_batch, steps, generator),
        }
        for name, batches in drawn.items():
            if name in self.plan:
                self.plan[name].copy_(batches)  # in place: a captured iteration reads this very memory
            else:
                self.plan[name] = batches.to(self.device)
        if isinstance(self.data.unlabelled, HostPool) and self.method.unlabelled_views:
            self.data.unlabelled.start(self.plan["unlabelled"].cpu())

    # -- the run -------------------------------------------------------------------------------------------------------

    def fit(
        self,
        checkpoint: str | Path | None = None,
        every_minutes: float = 5.0,
        progress: bool = True,
        should_stop: Callable[[float], bool] | None = None,
    ) -> None:
        """Trains to the end, from where the trainer stands.

        Args:
            checkpoint: folder that is brought up to date every `every_minutes`, at Ctrl-C and at the end.
            progress: a bar with loss, accuracy and time left; silent where the output is not a terminal or JupyterLab.
            should_stop: asked after each iteration, with the seconds of the longest one so far, evaluation included;
                True ends training as Ctrl-C does.

        Raises:
            TrainingDiverged: if the loss stops being finite.
            KeyboardInterrupt: after Ctrl-C, when the iteration is finished and the checkpoint is written.
        """
        total = self.clock.total_steps
        started, last_saved, saved = time.perf_counter() - self.seconds, time.perf_counter(), False
        longest = 0.0
        if self.captured is None and self.may_capture and total - self.step >= WORTH_CAPTURING:
            self.captured = try_to_capture(self)
        bar = progress_bar(total, self.step, progress)
        with deferred_interrupt() as interrupted, contextlib.closing(bar):
            while self.step < total:
                began = time.perf_counter()
                epoch, i = divmod(self.step, self.steps_per_epoch)
                if i == 0 or not self.plan:
                    self.plan_epoch(epoch)
                loss = self.train_step(i)
                self.step += 1
                end_of_epoch = i == self.steps_per_epoch - 1
                if end_of_epoch or self.step % CHECK_EVERY == 0:
                    self.check_finite(i)
                    bar.set_postfix(self._shown(loss), refresh=False)
                bar.update()
                self.seconds = time.perf_counter() - started
                if end_of_epoch:
                    self.end_epoch(epoch)
                    self.seconds = time.perf_counter() - started
                due = time.perf_counter() - last_saved > 60 * every_minutes
                longest = max(longest, time.perf_counter() - began)
                # read once: what is announced below is what was saved
                stop = interrupted() or (should_stop is not None and should_stop(longest))
                if checkpoint is not None and (stop or due or self.step == total):
                    self.check_finite(i)
                    saved = self._save_or_warn(checkpoint)
                    last_saved = time.perf_counter()
                if stop and self.step < total:
                    where = f"; its checkpoint is in {checkpoint}" if saved else ""
                    raise KeyboardInterrupt(f"stopped after iteration {self.step} of {total}{where}")

    def check_finite(self, i: int) -> None:
        """Raises TrainingDiverged if a loss of this epoch up to iteration `i`, or a weight, is not finite."""
        losses = self.losses[: i + 1]
        bad = (~torch.isfinite(losses)).nonzero()
        where = None
        if len(bad):
            where = self.step - 1 - i + int(bad[0])
        elif not all(torch.isfinite(p).all() for p in self.parameters):
            where = self.step - 1
        if where is not None:
            raise TrainingDiverged(
                f"the loss stopped being finite at iteration {where + 1} (epoch {where // self.steps_per_epoch + 1}); "
                f"lr={self.experiment.lr} and lam={self.experiment.lam} are the first things to lower. "
                "A checkpoint written before that is kept."
            )

    def end_epoch(self, epoch: int) -> None:
        """Adds the epoch to `history`, with accuracies when they are due."""
        row = {"epoch": epoch + 1, "step": self.step, "seconds": round(self.seconds, 3)}
        row["loss"] = round(float(self.losses.mean()), 6)
        row |= {name: round(float(self.sums[name]) / count, 6) for name, count in self.counts.items()}
        self.counts = {}
        self.clear_sums()
        if (epoch + 1) % self.experiment.eval_every == 0 or epoch + 1 == self.experiment.epochs:
            row |= self.evaluate()
        self.history.append(row)

    def clear_sums(self) -> None:
        for value in self.sums.values():
            value.zero_()  # in place: a captured iteration adds to this very memory

    # -- evaluation ----------------------------------------------------------------------------------------------------

    def predictors(self) -> dict[str, nn.Module]:
        """What is evaluated: the method's networks, or their averages over the steps if `ema_decay` is above 0."""
        return (self.average or self.method).predictors()

    def evaluate(self) -> dict[str, dict]:
        """{"validation" and "test": {"submodels": accuracies 0...1, "ensemble": of their mean probabilities}}.

        On images as they are. With a source, "target" has what can be said of the unlabelled ones without their labels,
        see `domain.without_labels`.
        """
        results = {}
        for name, (images, labels) in self.data.held_out.items():
            if len(images) > 0:
                results[name] = accuracy(self.predict(images), labels)
        if self.experiment.source is not None:
            apart = max(1, len(self.data.unlabelled) // CRITERION_IMAGES)  # a folder's pool is sorted by class
            results["target"] = without_labels(self.predict(self.data.unlabelled[::apart]))
        return results

    def predict(self, images: Tensor, view: Augmentation | None = None) -> Tensor:
        """Class probabilities of each predictor: (N, C, H, W) uint8 -> (S, N, K) float32."""
        networks = self.predictors().values()
        logits = [in_batches(network, images, view or self.plain, self.generator, self.compute) for network in networks]
        return torch.softmax(torch.stack(logits), dim=-1)

    def embed(self, images: Tensor, predictor: int = 0) -> Tensor:
        """The last hidden layer of one predictor: (N, C, H, W) uint8 -> (N, F) float32."""
        network = list(self.predictors().values())[predictor]
        return in_batches(network, images, self.plain, self.generator, self.compute, network.features)

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Writes everything that the rest of the run depends on."""
        resume.save(self, folder)

    def load(self, folder: str | Path) -> bool:
        """Continues from the checkpoint in `folder`; False if there is none.

        Raises:
            CheckpointError: if it is damaged or belongs to another experiment, seed, split or device.
        """
        return resume.load(self, folder)

    def _save_or_warn(self, folder: str | Path) -> bool:
        """A disk that is full must not end a run that is otherwise well; the checkpoint before is still there."""
        try:
            self.save(folder)
        except OSError as error:
            warnings.warn(f"no checkpoint was written to {folder} ({error}); training goes on", stacklevel=2)
            return False
        return True

    def _shown(self, loss: Tensor) -> dict[str, str]:
        shown = {"loss": f"{float(loss):.3f}"}
        evaluated = next((row for row in reversed(self.history) if "test" in row), None)
        if evaluated is not None:
            shown["test"] = f"{sum(evaluated['test']['submodels']) / len(evaluated['test']['submodels']):.3f}"
        return shown


def _row(table: Tensor, i: int | Tensor) -> Tensor:
    """table[i]; a tensor i is not looked at by the host, as plain indexing would."""
    return table[i] if isinstance(i, int) else table.index_select(0, i.view(1)).squeeze(0)


def _floats(module: nn.Module) -> list[Tensor]:
    return [value for value in module.state_dict().values() if value.is_floating_point()]
