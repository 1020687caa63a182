"""A folder of records whose log and results are always also in one small file, to be brought home from a machine.

archive = Archive(Path("runs/gpu"), Path("runs/gpu/results.tar.gz"))
with archive.renewed():
    archive.say("begun")
"""

from __future__ import annotations

import contextlib
import io
import tarfile
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from dnll_core.campaign.plan import TABLES
from dnll_core.common import atomic_file, tell

RENEWED_AFTER = 60.0  # seconds
AT_MOST = 10_000_000  # bytes
PACKED = ("*.txt", "bench/*.json", f"{TABLES}/*-seed*.json")  # no checkpoints


class Archive:
    """Logs, benchmarks and records of the folder `out`, in the file `path`."""

    def __init__(self, out: Path, path: Path):
        self.out, self.path, self.began, self._packing = out, path, time.time(), threading.Lock()
        out.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)

    def say(self, text: str) -> None:
        """Prints it with the seconds since the beginning, and adds it to the log."""
        text = f"[{time.time() - self.began:6.1f}] {text}"
        _print(text)
        with open(self.out / "log.txt", "a", encoding="utf-8") as log:
            log.write(text + "\n")

    def pack(self) -> None:
        """Renews the file, all or nothing: logs, benchmarks, then as many records as there is room for."""
        taken = 0
        with self._packing, atomic_file(self.path) as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for path in (path for pattern in PACKED for path in sorted(self.out.glob(pattern))):
                data = path.read_bytes()
                size = len(zlib.compress(data)) + 1024  # and its header, which is packed too
                if taken + size > AT_MOST:
                    _print(f"{path} has no room in {self.path}; it stays where it is.")
                    continue
                taken += size
                entry = tarfile.TarInfo(path.relative_to(self.out).as_posix())
                entry.size, entry.mtime = len(data), int(path.stat().st_mtime)
                archive.addfile(entry, io.BytesIO(data))

    @contextlib.contextmanager
    def renewed(self) -> Iterator[None]:
        """Inside the block the file is renewed every minute, and at its end, however it ends."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(RENEWED_AFTER):
                try:
                    self.pack()
                except OSError as error:  # it is tried again, and at last
                    _print(f"{self.path} could not be renewed: {error}")

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.pack()


def _print(text: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that is gone must not cost what is kept in files
        tell(text)
