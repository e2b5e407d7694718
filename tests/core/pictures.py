"""Picture files of kinds that Pillow itself does not write."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray


def png(pixels: NDArray[np.uint16], *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 16 bits a channel, (h, w) or (h, w, 1 to 4), with chunks before its pixels."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def tiff(pixels: NDArray[np.generic], pages: int = 1, order: str = "<", **tags: int | bytes) -> bytes:
    """An uncompressed TIFF, grey (h, w), of as many equal pages.

    Args:
        tags: ``t258=12``: more tags, or others than the pixels give: numbers, or ASCII.
    """
    height, width = pixels.shape
    format_ = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    given: dict[int, int | bytes] = {256: width, 257: height, 258: pixels.dtype.itemsize * 8, 259: 1, 262: 1}
    given |= {277: 1, 278: height, 279: len(data), 339: format_}
    given |= {int(name[1:]): value for name, value in tags.items()}
    file = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    for page in range(pages):
        start = len(file)
        size = 2 + 12 * (len(given) + 1) + 4
        texts = b""
        entries = b""
        for tag in sorted([*given, 273]):
            value = given.get(tag, 0)
            if isinstance(value, bytes):
                entries += struct.pack(order + "HHII", tag, 2, len(value), start + size + len(texts))
                texts += value
                continue
            if tag == 273:
                value = start + size + sum(len(each) for each in given.values() if isinstance(each, bytes))
            short = tag in (258, 259, 262, 277, 339)
            entries += struct.pack(order + ("HHIHxx" if short else "HHII"), tag, 3 if short else 4, 1, value)
        following = start + size + len(texts) + len(data) if page + 1 < pages else 0
        file += struct.pack(order + "H", len(given) + 1) + entries + struct.pack(order + "I", following) + texts + data
    return file
