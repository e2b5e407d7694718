"""How many pages or frames a file has after the first, which is the one that is used."""

import io
import struct

from PIL import Image

_SUBFILE = 254  # TIFF's NewSubfileType: 1 a smaller copy, 4 a mask
_MAX_PAGES = 10_000  # of a file that are counted


def further_pages(image: Image.Image, data: bytes) -> int:
    """Further pages of a TIFF that are pictures of their own; 1 for an animation; else 0, for previews in a JPEG too."""
    if image.format == "TIFF":
        return max(0, _tiff_pages(data) - 1)
    if image.format == "GIF":  # looks at the next frame, which changes this one
        with Image.open(io.BytesIO(data), formats=["GIF"]) as other:
            return int(_is_animated(other))
    return int(image.format != "MPO" and _is_animated(image))


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # the second frame is damaged, which does not matter for the first
        return False


def _tiff_pages(data: bytes) -> int:
    """The directories of a TIFF or BigTIFF that are neither smaller copies nor masks of others."""
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    offset, count, entry, value, start = ("Q", "Q", 20, 12, 8) if big else ("I", "H", 12, 8, 4)
    visited: set[int] = set()
    pages = 0
    try:
        (at,) = struct.unpack_from(order + offset, data, start)
        while at and at not in visited and len(visited) < _MAX_PAGES:
            visited.add(at)
            (entries,) = struct.unpack_from(order + count, data, at)
            first = at + struct.calcsize(count)
            kind = 0
            for number in range(min(entries, 100)):  # they are in order, and this one is the first
                tag = struct.unpack_from(order + "H", data, first + entry * number)[0]
                if tag == _SUBFILE:
                    (kind,) = struct.unpack_from(order + "I", data, first + entry * number + value)
                if tag >= _SUBFILE:
                    break
            pages += not kind & 0b101
            (at,) = struct.unpack_from(order + offset, data, first + entry * entries)
    except (struct.error, OverflowError):  # it is cut off or nonsense there
        pass
    return pages
