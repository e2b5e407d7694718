"""The one list of image formats, and the one rule for files that are passed over, wherever files come in.

Only the standard library is imported here.
"""

import re
from dataclasses import dataclass

HEADER_BYTES = 512  # enough of a file's start for everything here
IGNORED = (  # hidden files and folders, and what systems put beside a person's files; valid in JavaScript, too
    r"(?:^|/)(?:\.(?!\.?(?:/|$))[^/]*|__MACOSX|@eaDir|\$RECYCLE\.BIN|System Volume Information"
    r"|(?:eh)?[Tt]humbs\.db|[Dd]esktop\.ini)(?:/|$)"
)
_IGNORED = re.compile(IGNORED)


@dataclass(frozen=True)
class Format:
    """An image format: what people call it, Pillow's names of it, and how its files begin."""

    name: str
    pillow: tuple[str, ...]
    media_type: str
    extensions: tuple[str, ...]  # the first is that of stored files
    begins: "re.Pattern[bytes]"


def _format(name: str, media_type: str, extensions: str, begins: bytes, *pillow: str) -> Format:
    return Format(name, pillow, media_type, tuple(extensions.split()), re.compile(begins, re.DOTALL))


FORMATS = (
    _format("JPEG", "image/jpeg", "jpg jpeg jpe jfif mpo", rb"\xff\xd8\xff", "JPEG", "MPO"),
    _format("PNG", "image/png", "png apng", rb"\x89PNG", "PNG"),
    _format("WebP", "image/webp", "webp", rb"RIFF....WEBP", "WEBP"),
    _format("GIF", "image/gif", "gif", rb"GIF8[79]a", "GIF"),
    _format("BMP", "image/bmp", "bmp dib", rb"BM", "BMP"),
    _format("TIFF", "image/tiff", "tif tiff btf tf8", rb"(?:II|MM)(?:\*\0|\0\*|\+\0|\0\+)", "TIFF"),
    _format("PPM", "image/x-portable-anymap", "ppm pgm pbm pnm pfm", rb"P[1-6f]\s", "PPM"),
    _format("AVIF", "image/avif", "avif avifs", rb"....ftyp(?:avi[fs]|m[is]f1)", "AVIF"),
    _format("HEIC", "image/heic", "heic heif hif heics", rb"....ftyp(?:hei[cxms]|hev[cmxs]|m[is]f1)", "HEIF"),
)
BY_PILLOW = {name: each for each in FORMATS for name in each.pillow}
EXTENSION_OF = {each.media_type: each.extensions[0] for each in FORMATS}

_OTHERS = tuple(
    (re.compile(begins, re.DOTALL), name)
    for begins, name in (
        (rb"\Z", "an empty file"),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image"),
        (rb"\0\0\0\x0cJXL |\xff\x0a", "a JPEG XL image"),
        (rb"8BPS", "a Photoshop image (PSD)"),
        (rb"gimp xcf", "a GIMP image (XCF)"),
        (rb"\0\0[\x01\x02]\0[^\0]\0", "a Windows icon"),
        (rb".{128}DICM", "a DICOM file"),
        (rb"\x76\x2f\x31\x01", "an OpenEXR image"),
        (rb"#\?RADIANCE|#\?RGBE", "a Radiance image (HDR)"),
        (rb"DDS ", "a DirectDraw surface (DDS)"),
        (rb"qoif", "a QOI image"),
        (rb"P7\s", "a PAM image"),
        (rb"FUJIFILMCCD-RAW|....ftypcrx ", "a camera's raw image"),
        (rb"%PDF", "a PDF file"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file"),
        (rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?\?>\s*)?(?:<!--.*?-->\s*)?(?:<!DOCTYPE svg.*?>\s*)?<svg[\s>]", "an SVG drawing"),
        (rb"....ftyp|\x1aE\xdf\xa3|\0\0\x01\xba|RIFF....AVI ", "a video"),
        (rb"\x93NUMPY", "a NumPy array"),
        (rb"\x89HDF", "an HDF5 file"),
        (rb"RIFF....WAVE|ID3|OggS|fLaC", "a sound"),
        (rb"(?:\xef\xbb\xbf)?\s*<(?:!DOCTYPE )?html", "a web page"),
        (rb"PK\x03\x04", "a zip archive"),
    )
)


def is_ignored(path: str) -> bool:
    """Whether a file is ignored without being reported: it, or a folder above it, is hidden or belongs to an operating system."""
    return _IGNORED.search(path) is not None


def may_be_image(header: bytes) -> bool:
    """Whether a file's first bytes are those of an image format; only decoding shows whether it is an image."""
    return any(each.begins.match(header) for each in FORMATS)


def describe(header: bytes) -> str | None:
    """What a file is by its first ``HEADER_BYTES``, in words; ``None`` for what is not known here."""
    for each in FORMATS:
        if each.begins.match(header):
            return f"{'an' if each.name == 'AVIF' else 'a'} {each.name} image"
    for begins, name in _OTHERS:
        if begins.match(header[:HEADER_BYTES]):
            return name
    if not re.search(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]", header[:HEADER_BYTES]):
        return "a text file"
    return None
