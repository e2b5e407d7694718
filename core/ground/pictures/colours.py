"""Colours as people see them: upright, in sRGB, on white. Only Pillow is imported here."""

import io
import struct
from functools import lru_cache

from PIL import Image, ImageChops, ImageCms

_ORIENTATION = 0x0112  # of EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 8: 2, 9: 4}  # bytes of EXIF's types
_ALPHA = ("LA", "PA", "La", "RGBA", "RGBa")
_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_LAB = b"Lab"  # in place of a profile: the profile of CIELAB itself
_SAME_LEVELS = 2  # by which a profile of sRGB itself changes values, through rounding
_PROFILE_BYTES = 16 << 20


def upright(image: Image.Image, exif: Image.Image) -> Image.Image:
    """A decoded image, turned and mirrored as its EXIF orientation says where that can be read.

    Args:
        image: the decoded pixels.
        exif: the image as Pillow opened it, which still has the EXIF data.
    """
    turn = _TURNS.get(_orientation(exif))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow has turned it
        return 1
    try:
        orientation = int(image.getexif().get(_ORIENTATION, 0))
    except Exception:  # of broken EXIF; SyntaxError, struct.error and more
        orientation = 0
    return orientation if 1 <= orientation <= 8 else _read_orientation(bytes(image.info.get("exif") or b""))


def _read_orientation(exif: bytes) -> int:
    """The orientation of damaged EXIF, from as much of it as is there; 1 where there is none."""
    start = min((at for at in (exif.find(b"II*\0"), exif.find(b"MM\0*")) if 0 <= at < 64), default=-1)
    if start < 0:
        return 1
    order, tiff = "<" if exif[start : start + 2] == b"II" else ">", exif[start:]
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        for number in range(count):
            entry = directory + 2 + 12 * number
            tag, kind, _ = struct.unpack_from(f"{order}HHI", tiff, entry)
            if tag == _ORIENTATION:
                return _orientation_value(tiff[entry + 8 : entry + 12], kind, order)
    except struct.error:  # it is cut off
        pass
    return 1


def _orientation_value(value: bytes, kind: int, order: str) -> int:
    if kind == 2:
        return int(value[:1]) if value[:1].isdigit() else 1
    size = min(_SIZES.get(kind, 2), 4)
    orientation = int.from_bytes(value[:size], "little" if order == "<" else "big")
    return orientation if 1 <= orientation <= 8 else 1


def rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An image in any mode as RGB, in sRGB where its colour profile can be read, on white where it is transparent."""
    if image.mode not in _ALPHA and "transparency" not in image.info:
        return _srgb(image, profile)
    rgba = image.convert("RGBA")
    grey = image.mode in ("1", "L", "LA", "La")
    opaque = _srgb(rgba.getchannel("R") if grey else rgba.convert("RGB"), profile)
    opaque.putalpha(rgba.getchannel("A"))
    return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode == "LAB":
        transform = _transform(_LAB, "LAB")
        assert transform is not None
        return _apply(image, transform)
    if not profile or len(profile) > _PROFILE_BYTES:
        return image.convert("RGB")
    mode = {"1": "L", "L": "L", "CMYK": "CMYK"}.get(image.mode, "RGB")
    transform = _transform(bytes(profile), mode)
    return image.convert("RGB") if transform is None else _apply(image.convert(mode), transform)


def _apply(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    result = ImageCms.applyTransform(image, transform)
    assert result is not None
    return result


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from a profile's colours to sRGB; ``None`` where the profile is broken, of another mode, or sRGB."""
    try:
        if profile == _LAB:
            return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _SRGB, "LAB", "RGB")
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _SPACES.get(source.profile.xcolor_space) != mode:
            return None
        transform = ImageCms.buildTransform(source, _SRGB, mode, "RGB")
        return None if mode != "CMYK" and _changes_nothing(transform, mode) else transform
    except Exception:  # whatever a broken profile makes of littleCMS: the picture is good without it
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    steps = range(0, 256, 17)
    if mode == "L":
        probe = Image.frombytes("L", (256, 1), bytes(range(256)))
    else:
        probe = Image.frombytes("RGB", (256, 16), bytes(each for r in steps for g in steps for b in steps for each in (r, g, b)))
    difference = ImageChops.difference(_apply(probe, transform), probe.convert("RGB"))
    return max(high for _, high in difference.getextrema()) <= _SAME_LEVELS  # type: ignore[misc]


_SRGB = ImageCms.createProfile("sRGB")
