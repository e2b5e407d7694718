"""Decoding and evaluation preprocessing, shared by the trainer and the encoder so that they cannot disagree.

Only Pillow and NumPy are imported here, with this folder's other modules.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image, ImageFile, ImageOps, UnidentifiedImageError, features

from core.ground.pictures import colours, formats, work
from core.ground.pictures.depths import NO_DEPTHS, DeepImage, Depth, Depths
from core.ground.pictures.pages import further_pages

try:
    import pillow_heif
except ImportError:
    _HEIF: tuple[str, ...] = ()
else:
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.register_heif_opener(thumbnails=False)
    _HEIF = ("HEIF",)

_PILLOW = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", *(("AVIF",) if features.check("avif") else ()), *_HEIF)
FORMATS = tuple(each for each in formats.FORMATS if each.pillow[0] in _PILLOW)
MAX_PIXELS = 64_000_000
RENDERING_SIDE = 4096
Image.MAX_IMAGE_PIXELS = None  # the header is checked here, against the caller's limit
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # by default as many for each image as there are processors
_JPEG_END, _NOISE = b"\xff\xd9", bytes(range(1, 255))
_GLANCE = ((3, 3), (1, 1), (5, 1), (1, 5), (5, 5))  # in sixths of an image
_COLOURFUL = 32  # levels between the channels of a pixel that is surely not grey
_GREY_WITHIN = 3  # levels of 255 by which the channels of a grey image may differ: rounding of JPEG and of profiles


def formats_in_words() -> str:
    """The formats that are read here."""
    return ", ".join(each.name for each in FORMATS)


class ImageError(ValueError):
    """An image that cannot be used; ``code`` is stable, the message says why in words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Decoded:
    """An image upright in RGB, Pillow's name of its format, the number of pages or frames after the first, and the depth where it
    is more than eight bits."""

    image: Image.Image
    format: str
    further_pages: int
    depth: Depth | None


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """Open without decoding, check the size that the header claims and the work it would be, translate Pillow's errors."""
    try:
        times = work.passes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_PILLOW) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise ImageError("too_many_pixels", f"{width} x {height} pixels; at most {max_pixels:,} pixels are allowed")
                work.require_bounded(times, width * height, max_pixels)
                yield image
    except ImageError:
        raise
    except work.TooMuchWork as error:
        raise ImageError("too_much_work", f"would take too long to decode: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageError("not_an_image", _unknown(data[: formats.HEADER_BYTES])) from error
    except MemoryError as error:
        raise ImageError("too_many_pixels", "not enough memory to decode it") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        message = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        code = "truncated" if "truncated" in message else "damaged"
        raise ImageError(code, f"cannot be decoded: {message}") from error


def _unknown(header: bytes) -> str:
    what = formats.describe(header)
    message = f"not an image that can be read here{f': it is {what}' if what else ''}"
    if what == "a HEIC image" and not _HEIF:
        message += ", which is read where the extra heif is installed (pip install 'anchorhood[heif]')"
    elif formats.may_be_image(header):
        message += " that is damaged or of a rare kind"
    return f"{message}; the formats read here are {formats_in_words()}"


def read(data: bytes, max_pixels: int = MAX_PIXELS, depths: Depths = NO_DEPTHS) -> Decoded:
    """Decode the first frame or page as people see it.

    EXIF orientation is applied, colours are in sRGB by the file's profile, transparency is composited on white, and what is
    deeper than 8 bits is scaled to them (docs/decisions/0017); broken EXIF and profiles are ignored.

    Args:
        data: the file's bytes.
        max_pixels: largest allowed width x height, read from the header before any pixel is decoded.
        depths: black and white of deep images that do not say it themselves; by default by the image's own pixels.

    Raises:
        ImageError: with code ``not_an_image``, ``too_many_pixels``, ``too_much_work``, ``truncated`` or ``damaged``.
    """
    try:
        return _read(data, max_pixels, depths)
    except ImageError as error:
        if error.code != "truncated" or not data.startswith(b"\xff\xd8"):
            raise
        # A JPEG that lacks only its end marker has all its pixels, since bytes put before that one change none of them.
        whole, with_more = (_read(data + more + _JPEG_END, max_pixels, depths) for more in (b"", _NOISE))
        if whole.image.tobytes() != with_more.image.tobytes():
            raise
        return whole


def _read(data: bytes, max_pixels: int, depths: Depths) -> Decoded:
    with _opened(data, max_pixels) as image:
        further = further_pages(image, data)
        deep = DeepImage(image, data)
        image.load()
        picture: Image.Image = image
        depth = None
        if deep.is_deep:
            depth = deep.depth()
            picture = deep.eight_bits(depth.range if depth.fixed else depths.get(depth.kind, depth.range))
        picture = colours.upright(colours.rgb(picture, image.info.get("icc_profile")), image)
        return Decoded(picture.copy() if picture is image else picture, image.format or "PNG", further, depth)


def is_grey(image: Image.Image) -> bool:
    """Whether an RGB image has no colours, judged by the means of 16 x 16 parts of it where no pixel at a glance has any."""
    width, height = image.size
    few = [image.getpixel((x * width // 6, y * height // 6)) for x, y in _GLANCE]
    if any(isinstance(pixel, tuple) and max(pixel) - min(pixel) > _COLOURFUL for pixel in few):
        return False
    parts = np.asarray(image.resize((16, 16), Image.Resampling.BOX), dtype=np.int16)
    return int(np.ptp(parts, axis=2).max()) <= _GREY_WITHIN


def decode(data: bytes, max_pixels: int = MAX_PIXELS, depths: Depths = NO_DEPTHS) -> Image.Image:
    """Only the image that ``read`` returns."""
    return read(data, max_pixels, depths).image


def evaluation_array(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """What an encoder sees at evaluation: shorter side resized to ``size``, the centre cropped.

    Args:
        image: an RGB image, as ``decode`` returns it.
        size: side of the result in pixels.

    Returns:
        uint8 array (size, size, 3).
    """
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC), dtype=np.uint8)


def thumbnail(data: bytes, size: int, max_pixels: int = MAX_PIXELS, depths: Depths = NO_DEPTHS) -> bytes:
    """A file's image as WebP with its longer side ``size`` pixels, or as it is where that is less.

    Raises:
        ImageError: as ``decode``.
    """
    image = decode(data, max_pixels, depths)
    image.thumbnail((size, size))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=80 if size < 1024 else 90, method=4 if size < 1024 else 2)
    return file.getvalue()


def squashed_array(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """The whole image, aspect ratio ignored, as uint8 (size, size, 3).

    The trainer's random crops know the true width and height and undo the distortion.
    """
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)


_HEAT = np.array([(0, 0, 96), (0, 96, 255), (0, 224, 160), (255, 224, 0), (255, 0, 0)], np.float32)  # from 0 to 1
_HEAT_SHARE = 0.5  # of a colour in the blend


def heat_over(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> Image.Image:
    """A picture under a heat map, blue where that is 0 and red where it is 1.

    Args:
        pixels: (S, S, 3).
        heat: (h, w) in 0..1, spread over the whole picture by bilinear interpolation.
    """
    height, width = pixels.shape[:2]
    spread = np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR)).clip(0, 1)
    at = np.linspace(0, 1, len(_HEAT))
    colours = np.stack([np.interp(spread, at, _HEAT[:, channel]) for channel in range(3)], axis=-1)
    return Image.fromarray(np.rint(pixels * (1 - _HEAT_SHARE) + colours * _HEAT_SHARE).astype(np.uint8))
