"""Processes to attack. They start fast, as one that has imported the package forks them before it computes anything."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import signal
from collections.abc import Callable, Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from dnll_core import Experiment, train
from dnll_core.run import Run

CONTEXT = multiprocessing.get_context("forkserver")
# The last two are what torch's optimisers and the digits import at their first use, which takes seconds.
CONTEXT.set_forkserver_preload(["dnll_core.run", "dnll_core.methods", "torch._dynamo", "sklearn.datasets"])
# Small enough that all methods take seconds. Two stages are many enough to be killed in each.
SMALL = {"labels": 20, "labelled_batch": 20, "unlabelled_batch": 128, "epochs": 3, "rounds": 2, "lp_start": 0.3}
SMALL |= {"lp_neighbours": 10}


def start(work: Callable, *arguments) -> BaseProcess:
    """A child that does `work`, which is a function of a module."""
    process = CONTEXT.Process(target=work, args=arguments)
    process.start()
    return process


def answer_of(work: Callable, *arguments, seconds: float = 60, gigabytes: float | None = None) -> tuple[str, object]:
    """What becomes of `work` in a child: ("ended", value), ("raised", (kind, message)), ("signal", name), ("slow", s).

    gigabytes: what the child may take of memory, beyond what it begins with.
    """
    mine, theirs = CONTEXT.Pipe(duplex=False)
    process = start(_answer, theirs, gigabytes, work, arguments)
    theirs.close()
    try:
        if not mine.poll(seconds):
            return "slow", seconds
        try:
            return mine.recv()
        except EOFError:
            process.join()
            return "signal", signal.Signals(-process.exitcode).name if process.exitcode < 0 else process.exitcode
    finally:
        process.kill()
        process.join()


def _answer(connection, gigabytes: float | None, work: Callable, arguments: tuple) -> None:
    torch.set_num_threads(1)
    if gigabytes is not None:
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGESIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + int(gigabytes * 2**30),) * 2)
    try:
        connection.send(("ended", work(*arguments)))
    except BaseException as error:
        connection.send(("raised", (type(error).__name__, str(error))))


def names_one(message: str, fields: Iterable[str]) -> bool:
    """Whether a message names one of the fields, as a word of its own: "m" is in every message."""
    return any(re.search(rf"(?<!\w){name}(?!\w)" if name else "field=''", message) for name in fields)


def run_of(fields: dict, folder: Path, **how) -> Run:
    """A run of the digits with a checkpoint after a few iterations each; to flush it to disk may take longer."""
    return train(Experiment(**fields), 0, checkpoint=folder, checkpoint_minutes=0.001, progress=False, **how)


def train_there(fields: dict, folder: Path, how: dict) -> None:
    torch.set_num_threads(1)
    run_of(fields, folder, **how)


def lasting(run: Run) -> dict:
    """All that a run leaves, but when it took place and how long it took. Tensors as bytes: bit for bit."""
    learner, record = run.trainer.learner, run.record()
    history = [{name: value for name, value in row.items() if name != "seconds"} for row in record["history"]]
    timed = ("seconds", "images_per_second", "finished", "sittings")
    kept = {name: value for name, value in record.items() if name not in timed} | {"history": history}
    state = {name: value.detach().contiguous().numpy().tobytes() for name, value in learner.state().items()}
    state.pop("rng.cpu")  # torch's own generator, which is the caller's again
    images, _ = learner.data.held_out["test"]
    return {**kept, "state": state, "answers": run.predict_each(images[:100]).numpy().tobytes()}


def differences(one: dict, other: dict) -> list[str]:
    """Names of what is not the same."""
    parts = {f"state of {name}" for name in one["state"] if one["state"][name] != other["state"].get(name)}
    return sorted({name for name in one if name != "state" and one[name] != other.get(name)} | parts)
