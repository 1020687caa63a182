"""Image files that anybody may have made, opened: what would take minutes or gigabytes beside its pixels is refused."""

from __future__ import annotations

import io
import math
import struct

from PIL import Image

from dnll_core.data.entries import formats

MOST_PIXELS = {"JPEG2000": 50, "WEBP": 50}  # millions: their decoders take 15 to 18 bytes for each
MOST_SCANS = 500  # of a JPEG: each goes over all pixels, however little it says
MOST_NUMBERS = 2**18  # in the tags of a TIFF or of EXIF data, each of which becomes an object of Python
MOST_RLE = 2**22  # pixels of a BMP that is unpacked by code of Python
TEXT = (1, 2, 6, 7)  # kinds of tags that are bytes


def opened(data: bytes) -> Image.Image:
    """An image file of one of `formats`, opened and not decoded.

    Raises whatever Pillow raises, and ValueError for what would take too long or too much memory.
    """
    _check_tags(data)
    image = Image.open(io.BytesIO(data), formats=formats())
    _check_tags(image.info.get("exif", b"").removeprefix(b"Exif\0\0"))
    pixels, most = math.prod(image.size), MOST_PIXELS.get(image.format, math.inf)
    if pixels > most * 10**6:
        raise ValueError(f"more than {most} megapixels of {image.format}")
    if image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > MOST_SCANS:
        raise ValueError(f"more than {MOST_SCANS} scans")
    if pixels > MOST_RLE and any(tile[0] == "bmp_rle" for tile in getattr(image, "tile", ())):
        raise ValueError(f"more than {MOST_RLE / 1e6:.0f} megapixels of BMP packed by RLE")
    return image


def _check_tags(data: bytes) -> None:
    """Raises ValueError for more than MOST_NUMBERS in the first directory of a TIFF file, or of EXIF data.

    What is cut off, or no TIFF, Pillow tells.
    """
    order, large = {b"II": "<", b"MM": ">"}.get(data[:2]), data[2:3] == b"\x2b"  # as Pillow tells
    if order is None:
        return
    try:
        (place,) = struct.unpack_from(order + ("Q" if large else "I"), data, 8 if large else 4)
        (entries,) = struct.unpack_from(order + ("Q" if large else "H"), data, place)
        entry, numbers = struct.Struct(order + ("HHQ8x" if large else "HHI4x")), 0
        for i in range(min(entries, 2**16)):
            _, kind, count = entry.unpack_from(data, place + (8 if large else 2) + i * entry.size)
            numbers += count * (kind not in TEXT)
            if numbers > MOST_NUMBERS:
                raise ValueError(f"more than {MOST_NUMBERS} numbers in its tags")
    except struct.error:
        return
