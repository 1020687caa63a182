"""The loop of Algorithm 1 for any `Method`: epochs of iterations, evaluation, checkpoints and resume.

One epoch is one pass over the unlabelled images, less the remainder of the last batch. What an iteration does is in
`learner`, and as a CUDA graph in `captured`.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from dnll_core.augment import Augmentation
from dnll_core.bars import Runs
from dnll_core.captured import WORTH_CAPTURING, CapturedStep, try_to_capture
from dnll_core.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from dnll_core.common import today
from dnll_core.data.domain import without_labels
from dnll_core.evaluation import accuracy, in_batches
from dnll_core.fields import ConfigError
from dnll_core.learner import Learner
from dnll_core.memory import check_room
from dnll_core.methods.base import Observer
from dnll_core.provenance import sitting
from dnll_core.resume import InUse, as_checkpoint_error, check_same_run, check_standing, identity_of, warn_of_rounding
from dnll_core.signals import Stopped, deferred_interrupt

CHECK_EVERY = 50  # iterations between looks at the loss; each look waits for the device
CRITERION_IMAGES = 5000  # of the unlabelled pool, or a few more, for the criteria that need no labels


class TrainingDiverged(RuntimeError):
    """The loss stopped being finite. The last good checkpoint, if the run keeps one, is still there."""


class Trainer:
    """One run. Build it, `load` a checkpoint if there is one, call `fit`.

    Args:
        learner: at iteration 0.
    """

    def __init__(self, learner: Learner):
        self.learner, self.plain = learner, learner.views["plain"]
        self.step = 0
        self.history: list[dict] = []
        self.within: list[dict] = []  # evaluations of the epoch that has not ended
        self.seconds = 0.0  # spent in `fit`, over all its interruptions
        self.observer: Observer | None = None
        self.may_capture = learner.device.type == "cuda"
        self.earlier: list[dict] = []  # the sittings before the checkpoint that the run went on from
        self._began = (0, 0.0)  # step and seconds of this sitting's beginning
        self.finished: str | None = None  # the day on which the last epoch ended
        self.captured: CapturedStep | None = None  # the iteration as a CUDA graph; `fit` records it where that pays
        self.keep: Callable[[], None] | None = None  # called before a checkpoint is written, see `resume.exclusive`

    def __getstate__(self) -> dict:
        """For pickle and deepcopy: all but the observer and the recorded graph."""
        return self.__dict__ | {"observer": None, "captured": None, "keep": None}

    # -- one iteration -------------------------------------------------------------------------------------------------

    def train_step(self, i: int) -> Tensor:
        """One iteration and its bookkeeping. Returns the loss, 0-dim, without waiting for it."""
        if self.captured is not None and self.observer is None:
            loss, names = self.captured.replay(i), self.captured.metrics
        else:
            batch, output = self.learner.iterate(i)
            seen = self.observer(batch, output) if self.observer is not None else None
            names = output.metrics | (seen or {})
            loss = self.learner.account(i, output.loss.detach(), names)
        for name in names:
            self.learner.counts[name] = self.learner.counts.get(name, 0) + 1
        return loss

    # -- the run -------------------------------------------------------------------------------------------------------

    def fit(
        self,
        checkpoint: str | Path | None = None,
        every_minutes: float = 5.0,
        progress: bool | Runs = True,
        should_stop: Callable[[float], bool] | None = None,
    ) -> None:
        """Trains to the end, from where the trainer stands.

        Args:
            checkpoint: folder that is brought up to date every `every_minutes`, when training stops and at the end.
            progress: a bar with time left, loss and validation accuracy, where somebody watches; see `bars.Runs`.
            should_stop: asked after each iteration, with the seconds of the longest one so far, evaluation included,
                and before each batch of an evaluation, with 0; True ends training as Ctrl-C does.

        Raises:
            TrainingDiverged: if the loss stops being finite.
            Stopped: a KeyboardInterrupt, after Ctrl-C, SIGTERM or SIGHUP, when the iteration is finished and the
                checkpoint is written. An evaluation is cut short; a run that goes on from there begins with it.
        """
        total, steps = self.learner.clock.total_steps, self.learner.steps_per_epoch
        started, last_saved = time.perf_counter() - self.seconds, time.perf_counter()
        longest, stopping, saved, sitting = 0.0, False, False, False
        runs, title = Runs.of(progress), f"{self.learner.experiment.method}, seed {self.learner.seed}"
        with deferred_interrupt(should_stop) as stop, runs.bar(title, total, self.step) as bar:
            while not stopping and not self.is_finished:
                began, epoch = time.perf_counter(), len(self.history)
                i = self.step - epoch * steps
                if between := i < steps and self.is_due(epoch, i):
                    self.check_finite(i - 1)
                    with contextlib.suppress(Stopped):
                        self.within.append({"step": self.step} | self.evaluate(stop.check))
                elif i < steps:  # else only the evaluation of this epoch is missing
                    if self.learner.begin(self.step) or not sitting:  # a stage may be of other instructions
                        sitting, self.captured = True, self._capture()
                    loss = self.train_step(i)
                    self.step += 1
                    if i == steps - 1 or self.step % CHECK_EVERY == 0:
                        self.check_finite(i)
                        bar.set_postfix(self._shown(loss), refresh=False)
                    bar.update()
                    self.seconds = time.perf_counter() - started
                if i >= steps - 1 and not between:
                    with contextlib.suppress(Stopped):
                        self.end_epoch(epoch, stop.check)
                self.seconds = time.perf_counter() - started
                due = time.perf_counter() - last_saved > 60 * every_minutes
                longest = max(longest, time.perf_counter() - began)
                stopping = stop(longest)  # read once: what is announced below is what was saved
                if checkpoint is not None and (stopping or due or self.is_finished):
                    self.check_finite(i - 1 if between else min(i, steps - 1))
                    saved = self._save_or_warn(checkpoint)
                    last_saved = time.perf_counter()
            if stop.signalled.is_set() or not self.is_finished:
                missing = ", before its evaluation" if self.step == total and not self.is_finished else ""
                kept = f"; its checkpoint is in {checkpoint}, and the same call goes on" if saved else runs.again
                raise Stopped(f"stopped after iteration {self.step} of {total}{missing}{kept}")

    def _capture(self) -> CapturedStep | None:
        """The iteration as a graph; None where it may not, CUDA cannot, or the rest of the stage is not worth it."""
        clock = self.learner.clock
        worth = clock.stage_start + clock.stage_steps - self.step >= WORTH_CAPTURING
        return try_to_capture(self.learner) if worth and self.may_capture else None

    @property
    def is_finished(self) -> bool:
        """Whether the last epoch has ended, its evaluation included."""
        return len(self.history) >= self.learner.experiment.epochs

    def check_finite(self, i: int) -> None:
        """Raises TrainingDiverged if a loss of this epoch up to iteration `i`, or a weight, is not finite."""
        bad = (~torch.isfinite(self.learner.losses[: i + 1])).nonzero()
        if not len(bad) and all(torch.isfinite(p).all() for p in self.learner.optimisers.parameters):
            return
        raise self._diverged("loss", self.step - (i - int(bad[0]) if len(bad) else 0))

    def _diverged(self, what: str, iterations: int) -> TrainingDiverged:
        e, epoch = self.learner.experiment, math.ceil(iterations / self.learner.steps_per_epoch)
        return TrainingDiverged(
            f"the {what} stopped being finite at iteration {iterations} (epoch {epoch}); "
            f"lr={e.lr} and lam={e.lam} are the first things to lower. A checkpoint written before that is kept."
        )

    def end_epoch(self, epoch: int, check: Callable[[], None] | None = None) -> None:
        """Adds the epoch to `history`, with accuracies when they are due. If `check` raises, nothing has changed."""
        row = {"epoch": epoch + 1, "step": self.step, "seconds": round(self.seconds, 3)}
        row["loss"] = round(float(self.learner.losses.mean()), 6)
        for name, count in self.learner.counts.items():
            total, *of = self.learner.sums[name].view(-1).tolist()  # (2,) is a sum and over how many, see `Observer`
            if (of := of[0] if of else count) > 0:
                row[name] = round(total / of, 6)
        if self.is_due(epoch, self.learner.steps_per_epoch):
            row |= self.evaluate(check)
        self.history.append(row | ({"within": self.within} if self.within else {}))
        self.finished = today() if self.is_finished else None
        self.within, self.learner.counts = [], {}
        self.learner.clear_sums()

    # -- evaluation ----------------------------------------------------------------------------------------------------

    def is_due(self, epoch: int, i: int) -> bool:
        """Whether an evaluation comes before iteration `i` of an epoch, or at its end, where `i` is how many it has."""
        e, steps = self.learner.experiment, self.learner.steps_per_epoch
        due = (epoch + 1) % e.eval_every == 0 or epoch + 1 == e.epochs
        k = -(-i * e.evaluations // steps)  # the first evaluation that is not earlier
        return due and i == steps * k // e.evaluations > 0 and self.step not in {row["step"] for row in self.within}

    def predictors(self) -> dict[str, nn.Module]:
        """What is evaluated: the method's networks, or their averages over the steps if `ema_decay` is above 0."""
        return (self.learner.average or self.learner.method).predictors()

    def evaluate(self, check: Callable[[], None] | None = None) -> dict[str, dict]:
        """{"validation" and "test": {"submodels": accuracies 0...1, "ensemble": of their mean probabilities}}.

        On images as they are. With a source, "target" has what can be said of the unlabelled ones without their labels,
        see `data.domain.without_labels`. check: see `evaluation.in_batches`.
        """
        predict = partial(self.predict, check=check)
        held_out = self.learner.data.held_out.items()
        results = {name: accuracy(predict(images), labels) for name, (images, labels) in held_out if len(images)}
        if self.learner.experiment.source is not None:
            apart = max(1, len(self.learner.data.unlabelled) // CRITERION_IMAGES)  # a folder's pool is sorted by class
            results["target"] = without_labels(predict(self.learner.data.unlabelled[::apart]))
        return results

    def predict(self, images: Tensor, view: Augmentation | None = None, check: Callable | None = None) -> Tensor:
        """Class probabilities of each predictor: (N, C, H, W) uint8 -> (S, N, K) float32.

        Raises TrainingDiverged where one is not finite, as it can be though loss and weights are.
        """
        how = (images, view or self.plain, self.learner.generator, self.learner.compute)
        logits = torch.stack([in_batches(network, *how, check=check) for network in self.predictors().values()])
        probabilities = torch.softmax(logits, dim=-1)
        if not probabilities.isfinite().all():
            raise self._diverged("predictions", self.step)
        return probabilities

    def embed(self, images: Tensor) -> Tensor:
        """The last hidden layer of the first predictor: (N, C, H, W) uint8 -> (N, F) float32."""
        network = next(iter(self.predictors().values()))
        return in_batches(network, images, self.plain, self.learner.generator, self.learner.compute, network.features)

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    @property
    def sittings(self) -> list[dict]:
        """Each sitting of the run, see `provenance.sitting`."""
        compute, (step, seconds) = self.learner.compute, self._began
        done = self.step - step, round(self.seconds - seconds, 2)
        mine = [sitting(compute.describe(), compute.precision, compute.threads, *done)]
        return [*self.earlier, *([] if self.earlier and not any(done) else mine)]

    def save(self, folder: str | Path) -> None:
        """Writes everything that the rest of the run depends on. Raises ConfigError where memory is too small."""
        standing = {"step": self.step, "seconds": self.seconds, "history": self.history, "within": self.within}
        standing |= {"counts": self.learner.counts, "sittings": self.sittings, "finished": self.finished}
        tensors = self.learner.state()
        check_room(2 * sum(tensor.nbytes for tensor in tensors.values()), "a checkpoint")  # copied, then put together
        save_checkpoint(folder, tensors, identity_of(self.learner) | standing)

    def load(self, folder: str | Path) -> bool:
        """Continues from the checkpoint in `folder`; False if there is none.

        With other threads or in another precision than before it says so, for then it does not go on bit for bit.

        Raises:
            CheckpointError: if it is damaged, of another experiment or seed, of other images, or of a device of another
                kind.
        """
        room = 2 * sum(tensor.nbytes for tensor in self.learner.state().values()) + 2**27  # which no other run may take
        found = load_checkpoint(folder, room)
        if found is None:
            return False
        tensors, info = found
        with as_checkpoint_error(folder):
            fields = type(self.learner.experiment)().to_dict() | info["experiment"]  # a younger field has its default
            check_same_run(folder, info | {"experiment": fields}, identity_of(self.learner))
            check_standing(info, tensors, self.learner.steps_per_epoch, self.learner.clock.total_steps)
            self.learner.restore(tensors)
            self.learner.counts = info["counts"]
            self.step, self.seconds, self.history = info["step"], info["seconds"], info["history"]
            self.within = info.get("within", [])
            self.earlier, self._began = info["sittings"], (self.step, self.seconds)
            self.finished = info["finished"]
            if not self.is_finished:
                warn_of_rounding(folder, self.earlier[-1], self.learner.compute, stacklevel=4)
            epoch, begun = divmod(self.step, self.learner.steps_per_epoch)
            self.learner.stages.enter(max(0, self.step - 1))  # if another stage begins here, it has not yet
            if begun:
                self.learner.plan_epoch(epoch)
        return True

    def _save_or_warn(self, folder: str | Path) -> bool:
        """A full disk or memory must not end a run that is otherwise well; another process in its folder must."""
        try:
            if self.keep is not None:
                self.keep()
            self.save(folder)
        except InUse:
            raise
        except (OSError, CheckpointError, ConfigError) as error:
            warnings.warn(f"no checkpoint was written to {folder} ({error}); training goes on", stacklevel=2)
            return False
        return True

    def _shown(self, loss: Tensor) -> dict[str, str]:
        last = next((row["validation"]["submodels"] for row in reversed(self.history) if "validation" in row), ())
        last = {"validation": f"{sum(last) / len(last):.1%}"} if last else {}
        return {"loss": f"{float(loss):.3f}"} | last
