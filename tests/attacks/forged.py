"""Files as an attacker would make them, and the reading of one in a process of its own, whose memory is measured."""

from __future__ import annotations

import bz2
import io
import json
import multiprocessing
import os
import pickle
import resource
import socket
import struct
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attacks.ledger import FULL
from PIL import Image

SECONDS = 60  # after which a reader counts as one that hangs
MEMORY = 2**30  # bytes that a reader may take beside its imports
BELT = 3 * 2**30  # bytes after which the system refuses more: a reader that needs them has failed, and spares others
GIGABYTES, TERABYTE = 2**32, 2**40  # what bombs unpack to, and sparse files claim
RAN = "ran"  # a file that appears if code of a forged file was run


# -- reading one -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of reading: the class of the error ("" for none), its message or what was read, bytes at the peak."""

    error: str
    said: str
    memory: int


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # of Linux, in KB


def _in_child(connection, reader: str, folder: Path) -> None:
    os.chdir(folder)
    os.environ["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
    before = _peak()
    addresses = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (addresses + BELT, -1))
    warnings.simplefilter("ignore")
    error = ""
    try:
        said = str(READERS[reader](folder))
    except (Exception, SystemExit) as caught:
        error, said = type(caught).__name__, str(caught)
        if "MemoryError" in said or isinstance(caught.__cause__ or caught, MemoryError):
            error = "MemoryError"  # whatever it was made of: a larger machine would have been filled
    connection.send(Outcome(error, said, _peak() - before))


def read(reader: str, folder: Path) -> Outcome:
    """What becomes of a reader in a process of its own. reader: of READERS. folder: where its files lie.

    Raises AssertionError if it is killed or hangs.
    """
    context = multiprocessing.get_context("forkserver")
    more = ["torchvision.datasets", "sklearn.datasets", "dnll_core.campaign.plan"] if FULL else []
    context.set_forkserver_preload(["dnll_core.own.model", "dnll_core.study.records", *more])
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_in_child, args=(there, reader, folder))
    child.start()
    there.close()
    try:
        assert here.poll(SECONDS), f"it was still reading after {SECONDS} s"
        return here.recv()
    except EOFError:
        child.join()
        raise AssertionError(f"it was killed, with exit status {child.exitcode}") from None
    finally:
        child.join(1)
        child.kill()
        child.join()


def _named(name: str) -> Callable[[Path], object]:
    def load(folder: Path):
        from dnll_core import load_data

        return load_data(name, folder, download=False, progress=False)

    return load


def _folder(folder: Path, **how):
    from dnll_core import load_data

    return load_data(f"folder:{folder / 'pets'}", size=8, progress=False, **how).notes


def _many_threads(folder: Path):
    from dnll_core.data import images

    images.THREADS = 8
    return _folder(folder)


def _model(folder: Path):
    from dnll_core import load_model

    return load_model(folder / "model", device="cpu")


def _checkpoint(folder: Path):
    from dnll_core.checkpoint import load_checkpoint

    return load_checkpoint(folder / "run")


def _train(folder: Path):
    from dnll_core import Experiment, train

    return train(Experiment(**SHORT), checkpoint=folder / "run", device="cpu", progress=False)


def _campaign(folder: Path):
    """What a campaign asks of the checkpoints that it finds."""
    from dnll_core.campaign.plan import rename_checkpoints
    from dnll_core.campaign.tasks import checkpoint_step
    from dnll_core.campaign.worker import CHECKPOINTS

    (folder / CHECKPOINTS).mkdir()
    (folder / "run").rename(folder / CHECKPOINTS / "run")
    rename_checkpoints(folder)
    return checkpoint_step(folder / CHECKPOINTS / "run") + 0


def _records(folder: Path):
    from dnll_core.study.records import Records

    return Records(folder / "records").frame()


def _figure5(folder: Path):
    from dnll_core.study.embeddings import load_figure5

    return load_figure5(folder / "figure5.json").keys()


def _search(folder: Path):
    from dnll_core.checks import opened_file

    return opened_file(folder / "search.json").keys()


def _parameters(folder: Path):
    from dnll_core.campaign import parameters

    return parameters.main([str(folder / "notebook.ipynb"), "-f", str(folder / "parameters.yaml")])


def _scheduler(folder: Path):
    from dnll_core.campaign import dask_pool

    dask_pool.ANSWER = 3
    server = socket.create_server(("127.0.0.1", 0))

    def answer():
        while True:
            connection, _ = server.accept()
            connection.sendall((folder / "answer").read_bytes())

    threading.Thread(target=answer, daemon=True).start()
    with dask_pool.remote_pool(f"tcp://127.0.0.1:{server.getsockname()[1]}"):
        pass


SHORT = {"epochs": 1, "unlabelled_batch": 1024}  # of the run that a forged checkpoint is of
READERS: dict[str, Callable[[Path], object]] = {
    **{name: _named(name) for name in ("mnist", "usps", "cifar10", "svhn")},
    "folder": _folder,
    "folder, 8 threads": _many_threads,
    "table": lambda folder: _folder(folder, labels=folder / "labels.csv"),
    "model": _model,
    "predict": lambda folder: _model(folder).predict(folder / "pets"),
    "checkpoint": _checkpoint,
    "train": _train,
    "campaign": _campaign,
    "records": _records,
    "figure5": _figure5,
    "search": _search,
    "parameters": _parameters,
    "scheduler": _scheduler,
}


# -- parts of which they are made --------------------------------------------------------------------------------------


class _Payload:
    """Pickled, it runs a command when it is read."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.system, (f"touch '{self.folder / RAN}'",)


def payload(folder: Path) -> bytes:
    return pickle.dumps(_Payload(folder), protocol=2)


def nested(depth: int = 100_000) -> str:
    return "[" * depth + "]" * depth


def sparse(path: Path, size: int = TERABYTE, head: bytes = b"") -> None:
    """A file of any size that takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(size)


def pipe(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def deflated_zeros(size: int) -> bytes:
    """A raw deflate stream of so many zeros, made of one block over and over."""
    packer, block = zlib.compressobj(9, zlib.DEFLATED, -15), 2**24
    one = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    return one * (size // block) + b"\x03\x00"


def gzipped_zeros(size: int) -> bytes:
    return b"\x1f\x8b\x08" + bytes(7) + deflated_zeros(size) + bytes(8)


def bzip2_zeros(times: int) -> bytes:
    """A bzip2 stream of a block of 45 MB of zeros, so many times, in some 40 bytes each."""
    bits = "".join(f"{byte:08b}" for byte in bz2.compress(bytes(45 * 2**20)))
    end = bits.rindex(f"{0x177245385090:048b}")  # what marks the end of all blocks
    bits = bits[:32] + bits[32:end] * times + bits[end:]
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def zip_of(name: str, kind: int, packed: bytes, size: int) -> bytes:
    """A zip file of one member, whose content is packed already."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, packed)
    data = bytearray(file.getvalue())
    central = data.rindex(b"PK\x01\x02")
    for place in (8, central + 10):  # the kind of packing
        data[place : place + 2] = struct.pack("<H", kind)
    for place in (22, central + 24):  # the size when unpacked
        data[place : place + 4] = struct.pack("<I", min(size, 2**32 - 2))
    return bytes(data)


def zip_of_many(number: int) -> bytes:
    """A zip file that lists so many members and has none."""
    one = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0)
    listed = b"".join(one + b"%08d" % i for i in range(number))
    end = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, number, number, len(listed), 0)
    end += struct.pack("<4sIQI", b"PK\6\7", 0, len(listed), 1)
    return listed + end + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0)


def npy_header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def safetensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """header: JSON. length: that it claims, if it is another."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def empty_tensors(number: int) -> bytes:
    each = '"{}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    return safetensors(("{" + ",".join(map(each.format, range(number))) + "}").encode())


HUGE_TENSOR = safetensors(json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode())


# -- images ------------------------------------------------------------------------------------------------------------


def pets(folder: Path, more: bytes = b"", name: str = "bad.jpg") -> Path:
    """A folder of two classes, and the path of one more image in it, which is written if `more` is given."""
    for k, title in enumerate(("cat", "dog")):
        (folder / "pets" / title).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (9, 9), (i * 20, 50 * k, 90)).save(folder / "pets" / title / f"{i}.png")
    path = folder / "pets/cat" / name
    if more:
        path.write_bytes(more)
    return path


def image(kind: str) -> bytes:
    """A small one."""
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, kind)
    return file.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, colour: int = 0, bits: int = 8, unpacked: int = 2**24, before: bytes = b"") -> bytes:
    """Black. colour: 0 grey, 2 RGB, 3 palette, 6 RGBA. unpacked: bytes of pixels. before: chunks."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    before += png_chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    data = png_chunk(b"IDAT", b"\x78\x9c" + deflated_zeros(unpacked) + bytes(4))
    return b"\x89PNG\r\n\x1a\n" + head + before + data + png_chunk(b"IEND", b"")


def png_with(kind: bytes) -> bytes:
    """A small one, with chunks that unpack to gigabytes. kind: zTXt or iCCP."""
    return png(8, 8, before=png_chunk(kind, b"key\0\0\x78\x9c" + deflated_zeros(GIGABYTES)))


def resized(kind: str, layout: str, place: int | bytes, *sizes: int) -> bytes:
    """A small image of a format, which claims another size. place: where sizes stand, or after what."""
    data = bytearray(image(kind))
    place = place if isinstance(place, int) else data.index(place) + 5
    data[place : place + struct.calcsize(layout)] = struct.pack(layout, *sizes)
    return bytes(data)


def tiff(width: int, height: int, data: bytes, packing: int = 1, claimed: int | None = None) -> bytes:
    """Grey, of one strip. packing: 1 none, 8 deflate. claimed: bytes of the strip."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, packing), (262, 3, 1), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 4, height), (279, 4, len(data) if claimed is None else claimed)]
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + table + bytes(4)


def tiff_of_strips(number: int) -> bytes:
    """Of 8 x 8 pixels, which says of that many strips where they begin."""
    tags = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 3, number, 72)]
    tags += [(277, 3, 1, 1), (278, 4, 1, 1), (279, 3, number, 72)]
    table = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    starts = struct.pack("<H", 300) * number
    return b"II*\0" + struct.pack("<I", 72 + len(starts)) + bytes(64) + starts + struct.pack("<H", 9) + table + bytes(4)


def exif_of_numbers(number: int) -> bytes:
    """A small PNG whose orientation is that many fractions."""
    tag = struct.pack("<HHHII", 1, 274, 5, number, 26) + bytes(4)
    return png(
        8, 8, before=png_chunk(b"eXIf", b"II*\0" + struct.pack("<I", 8) + tag + struct.pack("<II", 3, 7) * number)
    )


def bmp_in_rows(width: int, height: int) -> bytes:
    """Packed by RLE: it says that its first row ends after one pixel."""
    data = b"\1\0\0\0"
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0) + bytes(1024)
    return b"BM" + struct.pack("<IHHI", 14 + len(head + data), 0, 0, 14 + len(head)) + head + data


def jpeg_of_scans(width: int, height: int, scans: int) -> bytes:
    """Grey, progressive: a scan of all blocks' means, and so many in which no block says anything, in runs of 2^15."""

    def segment(mark: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 255, mark, len(content) + 2) + content

    blocks = -(-width // 8) * -(-height // 8)
    head = segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
    for table, value in ((b"\0", b"\0"), (b"\x10", b"\xe0")):  # each of one code, of one bit
        head += segment(0xC4, table + b"\1" + bytes(15) + value)
    first = segment(0xDA, b"\1\1\0\0\0\0") + bytes(-(-blocks // 8))
    bits = "011111111111110" * -(-blocks // 32766)
    runs = int(bits.ljust(-(-len(bits) // 8) * 8, "1"), 2).to_bytes(-(-len(bits) // 8), "big")
    each = segment(0xDA, b"\1\1\0\1\x3f\0") + runs.replace(b"\xff", b"\xff\0")
    return b"\xff\xd8" + head + first + each * scans + b"\xff\xd9"


def blank(kind: str, side: int) -> bytes:
    """A black one in colour, made by Pillow."""
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, kind, **({"lossless": True, "method": 0} if kind == "WEBP" else {}))
    return file.getvalue()


def ico(of: bytes) -> bytes:
    """An icon of 16 x 16 pixels that holds another PNG."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(of), 22) + of


def fits(width: int, height: int) -> bytes:
    """A picture of the astronomers, packed by gzip."""
    first = [f"SIMPLE  = {'T':>20}", "BITPIX  = 8", "NAXIS   = 0", "END"]
    second = ["XTENSION= 'BINTABLE'", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 0", "NAXIS2  = 0", "ZIMAGE  = T"]
    second += ["ZCMPTYPE= 'GZIP_1  '", "ZBITPIX = 8", "ZNAXIS  = 2", f"ZNAXIS1 = {width}", f"ZNAXIS2 = {height}", "END"]
    blocks = ["".join(card.ljust(80) for card in part).ljust(2880) for part in (first, second)]
    return "".join(blocks).encode() + gzipped_zeros(GIGABYTES)
