"""Deep pixels, colours, orientation and pages: what an encoder sees is what a person sees."""

import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from core.ground.pictures import imaging
from core.ground.pictures.depths import common_depths
from tests.conftest import image_bytes
from tests.core.ground.pictures.test_imaging import saved
from tests.core.pictures import png, tiff

RAMP = np.linspace(0, 4095, 256).astype(np.uint16).reshape(16, 16)
EXPECTED = np.rint(RAMP / 4095 * 255).astype(np.uint8)


def seen(data: bytes, **depths: tuple[float, float]) -> np.ndarray:
    return np.asarray(imaging.decode(data, depths=depths))[..., 0]


@pytest.mark.parametrize(
    "data",
    [
        png(RAMP),
        png(RAMP, (b"sBIT", b"\x0c")),
        png(np.stack([RAMP] * 3, axis=-1)),
        png(np.stack([RAMP, RAMP, RAMP, np.full_like(RAMP, 65535)], axis=-1)),
        tiff(RAMP),
        tiff(RAMP, order=">"),
        tiff(RAMP.astype(np.int32)),
        tiff(RAMP.astype(np.uint32), order=">"),
        tiff(RAMP.astype(np.float32)),
        tiff(RAMP, t341=4095),
        tiff(RAMP, t270=b'<OME><Pixels SignificantBits="12"/></OME>\0'),
        b"P5 16 16 4095\n" + RAMP.astype(">u2").tobytes(),
        b"P5 16 16 65535\n" + RAMP.astype(">u2").tobytes(),
        saved(Image.fromarray(RAMP), "TIFF", compression="tiff_lzw"),
    ],
)
def test_twelve_bits_in_sixteen_are_not_black(data: bytes) -> None:
    assert np.abs(seen(data).astype(int) - EXPECTED).max() <= 1


def test_full_depth_is_as_it_was() -> None:
    full = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    assert np.array_equal(seen(png(full)), np.rint(full / 65535 * 255))
    assert np.array_equal(seen(png(np.stack([full] * 3, axis=-1))), full >> 8)


def test_white_that_is_zero() -> None:
    for order in "<>":
        assert np.array_equal(seen(tiff(RAMP, order=order, t262=0)), 255 - EXPECTED)


def test_images_to_be_compared_have_one_scale() -> None:
    dark, bright = png(RAMP // 8), png(RAMP)
    found = [imaging.read(data).depth for data in (dark, bright)]
    assert found[0] != found[1]
    depths = common_depths({each.kind: each.range} for each in found if each)
    assert depths == {"integer": (0, 4095)}
    assert np.abs(seen(dark, **depths).astype(int) - EXPECTED // 8).max() <= 1
    assert seen(png(RAMP * 16), **depths).max() == 255  # brighter than all that were known
    signed = imaging.read(tiff(np.array([[-1000, 0, 3000]], np.int16))).depth
    assert signed and signed.range == (-1000, 4095)
    assert seen(tiff(np.array([[-1000, 1000, 3000]], np.int16)), integer=(-1000.0, 3000.0))[0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("values", [[np.nan, 0.0, 1.0], [np.inf, 0.0, 1.0], [-np.inf, 0.0, 0.5]])
def test_what_is_no_number_decides_nothing(values: list[float]) -> None:
    depth = imaging.read(tiff(np.array([values], np.float32))).depth
    assert depth and depth.range == (0, 1)


def test_a_bit_depth_of_its_own_is_not_changed_by_others() -> None:
    packed = np.array([[0, 4095]], np.uint16)
    bits = "".join(f"{value:012b}" for value in packed[0].tolist())
    data = tiff(
        np.frombuffer(bytes(int(bits[at : at + 8], 2) for at in range(0, 24, 8)), np.uint8).reshape(1, 3), t256=2, t258=12
    )
    assert seen(data, integer=(0, 65535))[0].tolist() == [0, 255]


def test_transparent_colours_are_white_at_any_depth() -> None:
    rgb = Image.new("RGB", (2, 1), (255, 0, 0))
    rgb.putpixel((1, 0), (0, 0, 255))
    assert seen(saved(rgb, transparency=(255, 0, 0)))[0].tolist() == [255, 0]
    deep = np.array([[[65535, 1, 0], [65535, 2, 0]]], np.uint16)
    data = png(deep, (b"tRNS", struct.pack(">3H", 65535, 1, 0)))
    assert np.asarray(imaging.decode(data))[0, :, 1].tolist() == [255, 0]
    grey = png(np.array([[500, 65535]], np.uint16), (b"tRNS", struct.pack(">H", 500)))
    assert seen(grey)[0].tolist() == [255, 255]


def exif(body: bytes) -> bytes:
    file = io.BytesIO()
    image = Image.new("RGB", (8, 4))
    image.putpixel((0, 0), (255, 255, 255))
    image.save(file, "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0" + body)
    return file.getvalue()


TURNED = struct.pack("<2sHIHHHIHH", b"II", 42, 8, 2, 0x112, 3, 1, 6, 0)


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (b"nonsense", (8, 4)),
        (b"", (8, 4)),
        (b"MM\0*\0\0", (8, 4)),
        (b"Exif\0\0" + TURNED + bytes(16), (4, 8)),
        (TURNED, (4, 8)),  # cut off after the first of two entries
        (struct.pack("<2sHIHHHII", b"II", 42, 8, 1, 0x112, 4, 1, 6) + bytes(4), (4, 8)),
        (struct.pack("<2sHIHHHI4s", b"II", 42, 8, 1, 0x112, 2, 2, b"6\0\0\0") + bytes(4), (4, 8)),
        (struct.pack("<2sHIHHHII", b"II", 42, 8, 1, 0x112, 3, 1, 77) + bytes(4), (8, 4)),
    ],
)
def test_broken_exif_refuses_nothing(body: bytes, size: tuple[int, int]) -> None:
    assert imaging.decode(exif(body)).size == size


@pytest.mark.parametrize(
    "body",
    [
        b"Exif\0\0" + TURNED + bytes(16),
        TURNED,
        struct.pack("<2sHIHHHI4s", b"II", 42, 8, 1, 0x112, 2, 2, b"6\0\0\0") + bytes(4),
        # A resolution of 72 / 0 beside it, whose value lies at byte 38.
        struct.pack("<2sHIHHHIHxxHHIIIII", b"II", 42, 8, 2, 0x112, 3, 1, 6, 0x11A, 5, 1, 38, 0, 72, 0),
    ],
)
def test_turned_pictures_are_upright_whatever_else_is_broken(body: bytes) -> None:
    """The pixels of the same file without EXIF, a quarter to the right as orientation 6 wants."""
    picture = Image.open(io.BytesIO(image_bytes(5, size=(48, 32))))
    plain = np.asarray(imaging.decode(saved(picture, "JPEG", quality=95)))
    turned = np.asarray(imaging.decode(saved(picture, "JPEG", quality=95, exif=b"Exif\0\0" + body)))
    assert np.array_equal(turned, np.rot90(plain, -1))


def swapped_profile() -> bytes:
    """sRGB with the red and green primaries exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for at in range(132, len(data) - 4):
        if data[at : at + 4] in (b"rXYZ", b"gXYZ") and at < 400:
            data[at : at + 1] = b"g" if data[at : at + 1] == b"r" else b"r"
    return bytes(data)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_colours_agree_with_littlecms(format: str) -> None:
    """Of many colours, not only of one, and of a profile with a curve of its own."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)).resize((64, 64))
    options = {"lossless": True} if format == "WEBP" else {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    srgb = ImageCms.createProfile("sRGB")
    for profile in (swapped_profile(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        data = saved(picture, format, icc_profile=profile, **options)
        stored = Image.open(io.BytesIO(data)).convert("RGB")
        expected = ImageCms.profileToProfile(stored, ImageCms.ImageCmsProfile(io.BytesIO(profile)), srgb)
        assert np.abs(np.asarray(imaging.decode(data)).astype(int) - np.asarray(expected)).max() <= 2


CASES = Path(__file__).parents[4] / "shared" / "cases"


@pytest.mark.parametrize(
    ("file", "colour", "seen"),
    [
        ("swapped.png", (220, 20, 20), (12, 221, 12)),
        ("swapped.jpg", (220, 20, 20), (12, 221, 12)),
        ("adobe-like.png", (200, 60, 60), (231, 57, 57)),
        ("srgb.png", (200, 60, 60), (200, 60, 60)),
    ],
)
def test_the_issues_profiles(file: str, colour: tuple[int, ...], seen: tuple[int, ...]) -> None:
    """Where they are at hand; the values are what littleCMS makes of them by its perceptual intent."""
    path = CASES / "11-profiles.zip"
    if path.exists():
        with zipfile.ZipFile(path) as archive:
            data = archive.read(file)
        with Image.open(io.BytesIO(data)) as stored:
            assert np.abs(np.subtract(stored.convert("RGB").getpixel((0, 0)), colour)).max() <= 3
            if profile := stored.info.get("icc_profile"):
                made = ImageCms.profileToProfile(
                    stored.convert("RGB"), ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
                )
                assert np.abs(np.asarray(imaging.decode(data)).astype(int) - np.asarray(made)).max() <= 2
        assert np.abs(np.subtract(imaging.decode(data).getpixel((0, 0)), seen)).max() <= 3


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_colours_are_those_of_the_profile(format: str) -> None:
    green = Image.new("RGB", (16, 16), (220, 10, 10))
    options = {"lossless": True} if format == "WEBP" else {"quality": 100} if format == "AVIF" else {}
    pixel = imaging.decode(saved(green, format, icc_profile=swapped_profile(), **options)).getpixel((8, 8))
    assert pixel[1] > 200 and pixel[0] < 40, pixel
    for profile in (b"not a profile", swapped_profile()[:200], b""):
        assert imaging.decode(saved(green, "PNG", icc_profile=profile)).getpixel((8, 8)) == (220, 10, 10)


def test_srgb_and_profiles_of_other_images_change_nothing() -> None:
    picture = Image.open(io.BytesIO(image_bytes(1)))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert imaging.decode(saved(picture, icc_profile=srgb)).tobytes() == picture.tobytes()
    assert (
        imaging.decode(saved(picture.convert("L"), icc_profile=swapped_profile())).tobytes()
        == picture.convert("L").convert("RGB").tobytes()
    )


def test_lab_is_read() -> None:
    lab = Image.new("LAB", (4, 4), (255, 128, 128))
    assert min(imaging.decode(saved(lab, "TIFF")).getpixel((1, 1))) >= 254


def test_further_pages_and_frames_are_counted() -> None:
    assert imaging.read(tiff(RAMP, pages=4)).further_pages == 3
    assert imaging.read(tiff(RAMP, pages=3, t254=1)).further_pages == 0  # smaller copies
    other = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for format in ("GIF", "PNG", "WEBP", "AVIF", "TIFF"):
        file = saved(other[0], format, save_all=True, append_images=other[1:])
        assert (imaging.read(file).further_pages, imaging.read(saved(other[0], format)).further_pages) == (1, 0), format
        assert imaging.decode(file).getpixel((4, 4))[0] > 240


def test_a_jpeg_without_its_end_marker_is_whole() -> None:
    data = image_bytes(3, side=64, format="JPEG")
    assert imaging.decode(data[:-2]).tobytes() == imaging.decode(data).tobytes()
    with pytest.raises(imaging.ImageError, match="truncated"):
        imaging.decode(data[:-8])


def test_avif_and_heic_are_read() -> None:
    import pillow_heif

    picture = Image.new("RGB", (32, 16), (200, 30, 30))
    heif = pillow_heif.from_pillow(picture)
    file = io.BytesIO()
    heif.save(file, quality=90)
    for data, format in ((saved(picture, "AVIF"), "AVIF"), (file.getvalue(), "HEIF")):
        found = imaging.read(data)
        assert (found.format, found.image.size) == (format, (32, 16))
        assert np.abs(np.array(found.image.getpixel((9, 9))) - (200, 30, 30)).max() < 12


_WITHOUT = """
import sys
sys.modules["pillow_heif"] = None
from core.ground.pictures import imaging
try:
    imaging.decode(sys.stdin.buffer.read())
except imaging.ImageError as error:
    print(error.code, error)
"""


def test_heic_without_the_extra_says_which_one() -> None:
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
    told = subprocess.run([sys.executable, "-c", _WITHOUT], input=data, capture_output=True, check=True).stdout.decode()
    assert told.startswith(
        "not_an_image not an image that can be read here: it is a HEIC image, which is read where the extra heif is installed"
    )
    assert "JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF" in told


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"%PDF-1.7", "a PDF file"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
        (b"8BPS\0\1", "a Photoshop image"),
        (b"<?xml version='1.0'?>\n<svg width='1'></svg>", "an SVG drawing"),
        (b"some words", "a text file"),
        (b"", "an empty file"),
        (b"\x89PNG\r\n\x1a\n\0\0", "a PNG image that is damaged"),
    ],
)
def test_a_refusal_names_what_it_is_and_what_is_read(data: bytes, words: str) -> None:
    with pytest.raises(imaging.ImageError) as caught:
        imaging.decode(data)
    assert words in str(caught.value)
    assert caught.value.code in ("not_an_image", "damaged", "truncated")
