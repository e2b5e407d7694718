"""How much work a file would make, by what its parts say of themselves, before any of it is decoded.

Decoders take time for each part of a file and, in some formats, several times for each pixel; a small file may ask for hours.
"""

import re
import struct
from collections.abc import Callable

_PARTS = 100_000  # of a file: segments, chunks; each takes some microseconds
_BLOCKS = 400_000  # of a GIF before its second frame; most are of 255 bytes
_STRIPS = 400_000  # or tiles of a TIFF; a picture of the largest size in tiles of 16 x 16 pixels has 250,000
_SCANS = 100  # of a JPEG; those of cameras, editors and the web have up to about 20
_TIMES = 20  # the largest image may be decoded so often, smaller ones more often
_TEXT_BYTES, _COMMENTS = 16 << 20, 1000  # of an image whose numbers are text
_HEADER_BYTES = 64 << 10
_RUN_BYTES = 8 << 20  # of a BMP packed in runs
_BY_RUNS = 80  # times as slow as other pixels are
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # nothing in a JPEG's scans looks like it


class TooMuchWork(ValueError):
    """Decoding a file would take too long; the message says of what it has too much."""


def passes(data: bytes) -> int:
    """About how often each pixel of a file's image would be decoded, 1 for most formats.

    Raises:
        TooMuchWork: it has too many parts.
    """
    for begins, count in _OF_FORMATS:
        if data.startswith(begins):
            try:
                return count(data)
            except (IndexError, struct.error):  # it is cut off there, or nonsense
                return 1
    return 1


def require_bounded(times: int, pixels: int, max_pixels: int) -> None:
    """Raises ``TooMuchWork`` where so many pixels would be decoded so many times."""
    most = min(_SCANS, _TIMES * max_pixels // max(pixels, 1))
    if times > most:
        raise TooMuchWork(f"takes as long as {times:,} images of {pixels:,} pixels; at most {most} are allowed of this size")


def _require(count: int, most: int, what: str) -> None:
    if count > most:
        raise TooMuchWork(f"more than {most:,} {what}, which is the most allowed")


def _jpeg(data: bytes) -> int:
    few = data.count(b"\xff\xda") <= _TIMES  # that is quick; the same two bytes may stand in other segments, too
    at, parts, scans = 2, 0, 0
    while found := _MARKER.search(data, at):
        if not scans:  # what is between segments is skipped byte by byte
            parts += found.start() - at
        kind, at = data[found.end() - 1], found.end()
        if kind == 0xD9:
            break
        if kind != 0x01:
            at += max(2, int.from_bytes(data[at : at + 2]))
        scans += kind == 0xDA
        parts += 1
        _require(parts, _PARTS, "segments")
        _require(scans, _SCANS, "scans")
        if scans and few:
            break
    return max(scans, 1)


def _png(data: bytes) -> int:
    at, parts = 8, 0
    while at < len(data):
        at += 12 + int.from_bytes(data[at : at + 4])
        parts += 1
        _require(parts, _PARTS, "chunks")
    return 1


def _gif(data: bytes) -> int:
    at = 13 + _gif_colours(data[10])
    blocks = images = 0
    while (kind := data[at]) != 0x3B:
        if kind == 0x2C:
            images += 1
            if images == 2:
                break
            at += 11 + _gif_colours(data[at + 9])
        elif kind == 0x21:
            at += 2
        else:
            at += 1
        while kind in (0x2C, 0x21) and (size := data[at]):
            at += 1 + size
            blocks += 1
            if blocks > _BLOCKS:
                break
        at += kind in (0x2C, 0x21)
        blocks += 1
        _require(blocks, _BLOCKS, "blocks")
    return 1


def _gif_colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _tiff(data: bytes) -> int:
    order, big = ("<" if data[:2] == b"II" else ">"), 43 in data[2:4]
    offset, count, entry, number, start = ("Q", "Q", 20, "Q", 8) if big else ("I", "H", 12, "I", 4)
    (at,) = struct.unpack_from(order + offset, data, start)
    (entries,) = struct.unpack_from(order + count, data, at)
    at += struct.calcsize(count)
    tile: dict[int, int] = {}
    for place in range(at, at + entry * min(entries, _PARTS), entry):
        tag, kind, values = struct.unpack_from(f"{order}HH{number}", data, place)
        if tag in (273, 324):  # where strips and tiles are
            _require(values, _STRIPS, "strips or tiles")
        if tag in (322, 323):  # width and length of a tile
            (tile[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, place + 4 + struct.calcsize(number))
    return max(1, tile.get(322, 0) * tile.get(323, 0) // _LARGEST_TILE)


def _text(data: bytes) -> int:
    if data[1:2] not in b"123456f":
        return 1
    if data[1:2] in b"123":
        _require(len(data), _TEXT_BYTES, "bytes of numbers in text")
        _require(data.count(b"#"), _COMMENTS, "comments")
    words = re.sub(rb"#[^\r\n]*", b"", data[:_HEADER_BYTES]).split(maxsplit=4)
    if len(data) > _HEADER_BYTES and len(words) < 4:
        raise TooMuchWork(f"a header of more than {_HEADER_BYTES:,} bytes, which is the most allowed")
    return 1


def _bmp(data: bytes) -> int:
    (packing,) = struct.unpack_from("<I", data, 30)
    if packing not in (1, 2):
        return 1
    _require(len(data), _RUN_BYTES, "bytes of runs")
    return _BY_RUNS


_LARGEST_TILE = 1 << 22  # pixels; a larger one counts for several passes
_OF_FORMATS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[bytes], int]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG", _png),
    (b"GIF8", _gif),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    (b"P", _text),
    (b"BM", _bmp),
)
