"""Images of more than eight bits a channel in the eight bits that everything else here works with.

The file may state which values are black and white. Otherwise the brightest pixel of all images that are to be compared decides,
so that all of them have the same scale (docs/decisions/0017). Only Pillow and NumPy are imported here.
"""

import io
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

Range = tuple[float, float]  # values of black and of white
Depths = Mapping[str, Range]  # by kind, "integer" or "float": the scale of images whose files state none; JSON-serialisable
NO_DEPTHS: Depths = {}

_WHITES = (1, 255, 1023, 4095, 16383, 65535)  # usual ones of fractions and sensors; a brighter maximum is white itself
_FULL = 65535
_ROWS = 1 << 20  # pixels that are scaled at once
_BITS, _SMIN, _SMAX, _DESCRIPTION, _PHOTOMETRIC, _FORMAT = 258, 340, 341, 270, 262, 339  # tags of TIFF
_SIGNIFICANT = re.compile(r'SignificantBits="(\d{1,2})"')  # of OME-XML
# By byte order, the name of the unpacker that takes the other byte of each value.
_LOW_BYTES = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_DEEP_COLOUR = re.compile(r"(RGB|RGBA|RGBa|RGBX|LA);16([BLN])")
# Layouts that Pillow has unpackers for and does not know: big-endian twins, and white is zero.
_LAYOUTS = {
    (b"MM", 0, (1,), 1, (16,), ()): ("I;16B", "I;16B"),
    (b"MM", 1, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"II", 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"MM", 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"MM", 1, (1,), 1, (32,), ()): ("I", "I;32B"),
    (b"II", 1, (3,), 1, (64,), ()): ("F", "F;64F"),
    (b"MM", 1, (3,), 1, (64,), ()): ("F", "F;64BF"),
}
for _key, _modes in _LAYOUTS.items():
    TiffImagePlugin.OPEN_INFO.setdefault(_key, _modes)


@dataclass(frozen=True)
class Depth:
    """The black and white of one image; where ``fixed``, its file states them and no other image changes them."""

    kind: str  # "integer" or "float"
    range: Range
    fixed: bool = False


def common_depths(depths: Iterable[Depths]) -> Depths:
    """One scale for all images that are to be compared: the darkest black and the brightest white of each kind."""
    result: dict[str, Range] = {}
    for scales in depths:
        for kind, (black, white) in scales.items():
            old = result.get(kind, (black, white))
            result[kind] = (min(old[0], black), max(old[1], white))
    return result


class DeepImage:
    """The pixels of a deep image that was opened and not yet loaded, at their full depth."""

    def __init__(self, image: ImageFile.ImageFile, data: bytes) -> None:
        self._image = image
        self._data = data
        self._rawmode = _DEEP_COLOUR.fullmatch(_rawmode(image))
        self._maxval = _maxval(image) if image.format == "PPM" else None
        self.is_grey = image.mode.startswith("I") or image.mode == "F"
        self._low: NDArray[np.uint8] | None = None

    @property
    def _loaded(self) -> Image.Image:
        image: Image.Image = self._image
        return image

    @property
    def is_deep(self) -> bool:
        return self.is_grey or self._rawmode is not None

    @property
    def kind(self) -> str:
        return "float" if self._image.mode == "F" else "integer"

    def depth(self) -> Depth:
        """Black and white of the image, which must be loaded by now."""
        tags = getattr(self._image, "tag_v2", {})
        bits = _numbers(tags.get(_BITS))
        if self._maxval is not None and self._maxval < _FULL:  # by which Pillow has scaled it
            return Depth(self.kind, (0, _FULL), fixed=True)
        if self.kind == "integer" and bits and 8 < bits[0] < 16:
            return Depth(self.kind, (0, 2 ** int(bits[0]) - 1), fixed=True)
        low, high = self._extremes()
        return Depth(self.kind, self._declared_range(tags, low, high) or _range(low, high))

    def eight_bits(self, scale: Range) -> Image.Image:
        """The image in mode L, RGB or RGBA: black and what is darker 0, white and what is brighter 255."""
        black, white = scale = (scale[0], scale[1])  # JSON holds lists
        if self.is_grey:
            grey = _scaled(self._values(), black, white)
            if _numbers(getattr(self._image, "tag_v2", {}).get(_PHOTOMETRIC)) == [0]:  # white is zero
                grey = 255 - grey
            result = Image.fromarray(grey)
            if "transparency" in self._image.info and self._image.format == "PNG":
                result.putalpha(
                    Image.fromarray(np.where(self._values() == self._image.info["transparency"], 0, 255).astype(np.uint8))
                )
            return result
        key = self._image.info.get("transparency")
        deep_key = isinstance(key, tuple) and self._image.mode == "RGB"
        if (scale == (0, _FULL) and not deep_key) or not self._load_low():
            return self._loaded  # as Pillow has it: the high byte of each value
        values = self._colours()
        result = self._loaded
        if scale != (0, _FULL):
            colours = Image.fromarray(_scaled(values, black, white))
            if self._image.mode == "RGBA":
                colours.putalpha(self._image.getchannel("A"))
            result = colours
        if deep_key:
            result = result.copy()
            result.info.pop("transparency", None)
            result.putalpha(Image.fromarray(np.where((values == key).all(axis=-1), 0, 255).astype(np.uint8)))
        return result

    def _values(self) -> NDArray[np.integer | np.floating]:
        values = np.asarray(self._image)
        tags = getattr(self._image, "tag_v2", {})
        if values.dtype == np.int32 and _numbers(tags.get(_FORMAT, 1))[:1] == [1] and _numbers(tags.get(_BITS))[:1] == [32]:
            return values.view(np.uint32)
        return values

    def _extremes(self) -> Range:
        if not self.is_grey:
            high = np.asarray(self._image)[..., :3]
            if int(high.max(initial=0)) > _WHITES[-2] >> 8 or not self._load_low():
                return 0, _FULL
            return 0, int(self._colours().max(initial=0))
        values = self._values()
        if values.dtype.kind == "f":
            finite = np.isfinite(values)
            low, high = values.min(where=finite, initial=0), values.max(where=finite, initial=0)
            return float(low), float(high)
        return int(values.min(initial=0)), int(values.max(initial=0))

    def _declared_range(self, tags: Mapping[int, object], low: float, high: float) -> Range | None:
        if (most := _numbers(tags.get(_SMAX))) and high <= max(most):
            least = min(_numbers(tags.get(_SMIN)), default=0.0)
            black = least if least <= low else min(0.0, low)
            return (black, max(most)) if max(most) > black else None
        bits = 0
        if match := _SIGNIFICANT.search(str(tags.get(_DESCRIPTION, ""))):
            bits = int(match[1])
        elif self._image.format == "PNG":
            bits = self._significant_bits()
        if self.kind == "integer" and 8 < bits < 16 and low >= 0 and high < 2**bits:
            return 0, 2**bits - 1
        return None

    def _significant_bits(self) -> int:
        """Of a PNG whose values were left where they are; the standard wants them shifted up, to fill the whole range."""
        at = self._data.find(b"sBIT", 8, self._data.find(b"IDAT"))
        bits = max(self._data[at + 4 : at + 5], default=0) if at > 0 else 0
        if not 8 < bits < 16:
            return 0
        values = self._values() if self.is_grey else self._colours() if self._load_low() else np.zeros(1, np.uint16)
        shift = 16 - bits
        top = values.astype(np.uint16) >> shift
        filled = (top << shift) | (top >> (bits - shift) if bits >= shift else 0)
        return 0 if np.array_equal(values, filled) or np.array_equal(values, top << shift) else bits

    def _load_low(self) -> bool:
        """Decode the low bytes of a colour image, which Pillow drops; ``False`` where that cannot be done."""
        assert self._rawmode is not None
        if self._low is not None:
            return True
        mode, order = self._rawmode.groups()
        if mode == "LA":
            return False
        try:
            with Image.open(io.BytesIO(self._data), formats=[str(self._image.format)]) as image:
                image.tile = [
                    tile._replace(args=_with_rawmode(tile.args, f"{mode};16{_LOW_BYTES[order]}")) for tile in image.tile
                ]
                image.load()
                low = np.asarray(image)
                self._low = low if image.size == self._image.size and low.ndim == 3 else None
        except Exception:  # the image was decoded once already and is used without its low bytes
            self._low = None
        return self._low is not None

    def _colours(self) -> NDArray[np.uint16]:
        assert self._low is not None
        high = np.asarray(self._image)[..., :3].astype(np.uint16)
        return np.asarray((high << 8) | self._low[..., :3], np.uint16)


def _maxval(image: ImageFile.ImageFile) -> int | None:
    """Of a PPM file, where its values are scaled by it."""
    tile = image.tile[0]
    return int(tile.args[-1]) if tile.codec_name != "raw" and isinstance(tile.args, tuple) else None


def _rawmode(image: ImageFile.ImageFile) -> str:
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _with_rawmode(args: tuple[object, ...] | str | None, rawmode: str) -> tuple[object, ...] | str:
    return (rawmode, *args[1:]) if isinstance(args, tuple) else rawmode


def _numbers(value: object) -> list[float]:
    """A tag's values that are numbers, whatever the file made of it."""
    values = value if isinstance(value, tuple | list) else (value,)
    return [float(each) for each in values if isinstance(each, int | float) and np.isfinite(each)]


def _range(low: float, high: float) -> Range:
    black = min(0, low)
    return black, next((white for white in _WHITES if white >= high), high)


def _scaled(values: NDArray[np.integer | np.floating], black: float, white: float) -> NDArray[np.uint8]:
    width = max(white - black, 1e-30)
    if values.dtype == np.uint16:
        table = np.rint(np.clip((np.arange(1 << 16, dtype=np.float64) - black) / width, 0, 1) * 255).astype(np.uint8)
        grey: NDArray[np.uint8] = table[values]
        return grey
    result = np.empty(values.shape, np.uint8)
    rows = max(1, _ROWS // max(1, values[0].size)) if len(values) else 1
    for start in range(0, len(values), rows):
        block = np.nan_to_num(values[start : start + rows].astype(np.float64), nan=black, posinf=white, neginf=black)
        result[start : start + rows] = np.rint(np.clip((block - black) / width, 0, 1) * 255)
    return result
