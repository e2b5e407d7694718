"""Decoding and evaluation preprocessing, shared by the trainer and the encoder so that they cannot disagree.

Only Pillow and NumPy are imported here: the trainer may import this module and no other of ``core``.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_PIXELS = 64_000_000
Image.MAX_IMAGE_PIXELS = None  # the header is checked here, against the caller's limit


class ImageError(ValueError):
    """An image that cannot be used; ``code`` is stable, the message says why in words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """Open without decoding, check the size that the header claims, translate Pillow's errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise ImageError("too_many_pixels", f"{width} x {height} pixels; at most {max_pixels:,} pixels are allowed")
                yield image
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("not_an_image", f"not an image in a supported format ({', '.join(FORMATS)})") from error
    except MemoryError as error:
        raise ImageError("too_many_pixels", "not enough memory to decode it") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        message = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        code = "truncated" if "truncated" in message else "damaged"
        raise ImageError(code, f"cannot be decoded: {message}") from error


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode the first frame to RGB, upright.

    EXIF orientation is applied, alpha is composited on white, 16-bit and float greyscale is scaled to 8 bits.

    Args:
        data: the file's bytes.
        max_pixels: largest allowed width x height, read from the header before any pixel is decoded.

    Raises:
        ImageError: with code ``not_an_image``, ``too_many_pixels``, ``truncated`` or ``damaged``.
    """
    return decode_with_format(data, max_pixels)[0]


def decode_with_format(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, str]:
    """As ``decode``, with Pillow's name of the file's format, such as ``JPEG``."""
    with _opened(data, max_pixels) as image:
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image)), image.format or "PNG"


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Deep greyscale to 0..255: integers by their 16-bit range, floats by 0..1 where they lie in it."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    top = float(values.max(initial=0.0))
    scale = 1.0 if image.mode == "F" and top <= 1.0 else 65535.0
    if image.mode == "F" and 1.0 < top <= 255.0:
        scale = 255.0
    if top > scale:
        scale = top
    return np.rint(np.clip(values / scale, 0.0, 1.0) * 255.0).astype(np.uint8)


def evaluation_array(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """What an encoder sees at evaluation: shorter side resized to ``size``, the centre cropped.

    Args:
        image: an RGB image, as ``decode`` returns it.
        size: side of the result in pixels.

    Returns:
        uint8 array (size, size, 3).
    """
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC), dtype=np.uint8)


def thumbnail(data: bytes, size: int, max_pixels: int = MAX_PIXELS) -> bytes:
    """A file's image as WebP with its longer side ``size`` pixels, or as it is where that is less.

    Raises:
        ImageError: as ``decode``.
    """
    image = decode(data, max_pixels)
    image.thumbnail((size, size))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=80)
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
