"""Runs on the workers of a Dask cluster: processes of this machine, or of all that a scheduler knows.

    python -m dnll_core.campaign --profile paper --tables 4 --dask 2
    python -m dnll_core.campaign --profile paper --tables 1 2 --scheduler tcp://10.0.0.1:8786

Needs the extra "dask". Workers have this very version of the package and the data sets in a folder of their own, see
`data.data_root`. One carries out one run at a time, so a machine starts as many as it has GPUs, each seeing its own.
Records travel back and are written where the campaign was started. If a worker dies, its run begins again on another;
where workers see the folder of the records under its path, it goes on from its checkpoint. A worker that loses its
scheduler, or is told to end, stops its run with the checkpoint. Dask sends pickles: whoever can reach the scheduler, or
runs it, can run any code on all of these machines.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import torch
from distributed import Client, KilledWorker, LocalCluster, Status, Worker, WorkerPlugin, get_worker

from dnll_core import provenance
from dnll_core.campaign.pool import Pool, TaskLost, WorkerDied, note_interrupts, stop_all, stop_campaign
from dnll_core.common import brief
from dnll_core.config import ConfigError

ANSWER = 30  # seconds to wait for a scheduler, and for its first worker
_GONE = "the Dask scheduler is gone; run the same command again."
_OTHER = "other versions of the package, whose results may differ, are at: {where}."


@contextlib.contextmanager
def local_pool(workers: int) -> Iterator[Pool]:
    """A pool of so many Dask workers on this machine, of one thread each; with GPUs, at most as many as those.

    Raises:
        ConfigError: for more workers than GPUs.
        WorkerDied: if Dask itself ended.
    """
    seen = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    gpus = seen.split(",") if torch.cuda.is_available() else []
    if gpus and workers > len(gpus):
        raise ConfigError(f"{workers} Dask workers on {len(gpus)} GPU(s): one GPU takes one run at a time.")
    each = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": None}
    with (  # its status page is on any free port, and for this machine alone
        LocalCluster(**each, dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL) as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(_OfThisMachine(gpus))
        yield _pool(client)


@contextlib.contextmanager
def remote_pool(address: str) -> Iterator[Pool]:
    """A pool of the workers of a Dask scheduler, as many as there are at a time.

    Raises:
        ConfigError: if no scheduler answers, or it has no worker.
        WorkerDied: if workers have another version of the package, or the scheduler ended.
    """
    with _silent(), contextlib.ExitStack() as held:
        try:
            client = held.enter_context(Client(address, timeout=ANSWER))
        except Exception as error:  # of whatever kind: something else may answer there
            told = f"no Dask scheduler answers at {address!r} (for example tcp://host:8786): {brief(error)}"
            raise ConfigError(told) from None
        mine = provenance.source_hash()
        with _connected(client):
            try:
                client.wait_for_workers(1, timeout=ANSWER)
            except TimeoutError:
                raise ConfigError(f"the scheduler at {address} has no worker; start one with `dask worker`.") from None
            versions = client.run(provenance.source_hash, on_error="return")  # OSError: one that has died since
        for error in versions.values():
            if isinstance(error, ImportError):
                raise WorkerDied(f"a worker cannot import the package ({error}); install it there.")
        other = [worker for worker, version in versions.items() if isinstance(version, str) and version != mine]
        if other:
            raise WorkerDied(_OTHER.format(where=", ".join(other)))
        yield _pool(client)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Dask logs nothing in this block: what matters is said here in a line, and not by tracebacks."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    before = {logger: logger.level for logger in map(logging.getLogger, names)}
    try:
        for logger in before:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)


@contextlib.contextmanager
def _connected(client: Client) -> Iterator[None]:
    """What fails in this block because the connection has ended is WorkerDied."""
    try:
        if client.status != "running":
            raise ConnectionError
        yield
    except OSError:
        raise WorkerDied(_GONE) from None


def _pool(client: Client) -> Pool:
    def submit(function: Callable, task: object) -> Future:
        answer: Future = Future()

        def relay(done: Future) -> None:
            error = None if done.cancelled() else done.exception()
            if done.cancelled() or (error is not None and client.status != "running"):
                answer.set_exception(WorkerDied(_GONE))
            elif isinstance(error, KilledWorker):  # worker after worker, see Dask's `allowed-failures`
                answer.set_exception(TaskLost("its workers died"))
            elif error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(done.result())

        with _connected(client):
            future = client.get_executor(pure=False).submit(_carry_out, provenance.source_hash(), function, task)
        future.add_done_callback(relay)
        return answer

    def size() -> int:
        with _connected(client):
            return len(client.nthreads())

    def interrupt(campaign: str) -> None:
        with _connected(client):
            client.run(stop_campaign, campaign, on_error="ignore")  # one that dies meanwhile has stopped

    return Pool(submit, size, interrupt)


def _carry_out(source: str, function: Callable, task: object) -> object:
    """Carries out a task on a worker, and stops it if the worker leaves its scheduler.

    source: the version of the package that the campaign has.

    Raises:
        WorkerDied: if the worker, which may have come since the campaign began, has another one.
    """
    worker, over = get_worker(), threading.Event()
    if provenance.source_hash() != source:
        raise WorkerDied(_OTHER.format(where=worker.address))

    def watch() -> None:
        while not over.wait(0.5):
            if worker.status not in (Status.running, Status.paused):
                stop_all()

    threading.Thread(target=watch, daemon=True).start()
    try:
        return function(task)
    finally:
        over.set()


class _OfThisMachine(WorkerPlugin):
    """Lets a worker outlive stop signals, so that it stops its run, and gives it a GPU of its own if there are any."""

    def __init__(self, gpus: list[str]):
        self.gpus = gpus

    def setup(self, worker: Worker) -> None:
        note_interrupts()
        if self.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus[worker.name % len(self.gpus)]
