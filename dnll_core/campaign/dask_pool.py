"""Runs on the workers of a Dask cluster: processes of this machine, or of all that a scheduler knows.

    python -m dnll_core.campaign --profile paper --tables 4 --dask 2
    python -m dnll_core.campaign --profile paper --tables 1 2 --scheduler tcp://10.0.0.1:8786

Needs the extra "dask". Workers have this very version of the package and the data sets in a folder of their own, see
`data.data_root`. One carries out one run at a time, so a machine starts as many as it has GPUs, each seeing its own.
Records travel back and are written where the campaign was started. If a worker dies, its run begins again on another;
where workers see the folder of the records under its path, it goes on from its checkpoint. Dask sends pickles: whoever
can reach the scheduler, or runs it, can run any code on all of these machines.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import torch
from distributed import Client, LocalCluster, Worker, WorkerPlugin

from dnll_core.campaign.pool import Pool, WorkerDied, note_interrupts, stop_campaign
from dnll_core.common import brief
from dnll_core.config import ConfigError
from dnll_core.provenance import source_hash

ANSWER = 30  # seconds to wait for a scheduler, and for its first worker


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
    try:
        client = Client(address, timeout=ANSWER)
    except Exception as error:  # of whatever kind: something else may answer there
        told = brief(error)
        raise ConfigError(f"no Dask scheduler answers at {address!r} (for example tcp://host:8786): {told}") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=ANSWER)
        except TimeoutError:
            raise ConfigError(f"the scheduler at {address} has no worker; start one with `dask worker`.") from None
        try:
            versions = client.run(source_hash)
        except ImportError as error:
            raise WorkerDied(f"a worker cannot import the package ({error}); install it there.") from None
        other = [worker for worker, source in versions.items() if source != source_hash()]
        if other:
            raise WorkerDied(f"other versions of the package, whose results may differ, are at: {', '.join(other)}.")
        yield _pool(client)


def _pool(client: Client) -> Pool:
    @contextlib.contextmanager
    def connected() -> Iterator[Client]:
        try:
            if client.status != "running":
                raise ConnectionError
            yield client
        except OSError:  # the connection's end
            raise WorkerDied("the Dask scheduler is gone; run the same command again.") from None

    def submit(function: Callable, task: object) -> Future:
        with connected():
            return client.get_executor(pure=False).submit(function, task)

    def size() -> int:
        with connected():
            return len(client.nthreads())

    def interrupt(campaign: str) -> None:
        with connected():
            client.run(stop_campaign, campaign, on_error="ignore")  # one that dies meanwhile has stopped

    return Pool(submit, size, interrupt)


class _OfThisMachine(WorkerPlugin):
    """Lets a worker outlive stop signals, so that it stops its run, and gives it a GPU of its own if there are any."""

    def __init__(self, gpus: list[str]):
        self.gpus = gpus

    def setup(self, worker: Worker) -> None:
        note_interrupts()
        if self.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus[worker.name % len(self.gpus)]
