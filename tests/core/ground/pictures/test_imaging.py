import io

import numpy as np
import pytest
from PIL import Image

from core.ground.pictures import imaging
from tests.conftest import image_bytes


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA"])
def test_every_png_mode_becomes_rgb(mode: str) -> None:
    image = imaging.decode(image_bytes(1, mode=mode))
    assert (image.mode, image.size) == ("RGB", (16, 16))


def test_cmyk_jpeg_becomes_rgb() -> None:
    assert imaging.decode(image_bytes(1, format="JPEG", mode="CMYK")).mode == "RGB"


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16))
    assert np.asarray(imaging.decode(saved(deep)))[0, :, 0].tolist() == [0, 128, 255]


def test_alpha_is_composited_on_white() -> None:
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert imaging.decode(saved(clear)).getpixel((0, 0)) == (255, 255, 255)


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    assert imaging.decode(saved(Image.new("RGB", (8, 4)), "JPEG", exif=exif.tobytes())).size == (4, 8)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"hello, this is text", "not_an_image"),
        (b"", "not_an_image"),
        (image_bytes(3, side=64, format="JPEG")[:-400], "truncated"),
        (image_bytes(3, side=64)[:-60], "truncated"),
    ],
)
def test_bad_files_are_named(data: bytes, code: str) -> None:
    with pytest.raises(imaging.ImageError) as caught:
        imaging.decode(data)
    assert caught.value.code == code


def test_too_many_pixels_are_refused_by_the_header() -> None:
    with pytest.raises(imaging.ImageError, match="20 x 30 pixels") as caught:
        imaging.decode(saved(Image.new("RGB", (20, 30))), max_pixels=500)
    assert caught.value.code == "too_many_pixels"


def test_evaluation_keeps_the_centre_and_the_aspect() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    array = imaging.evaluation_array(Image.fromarray(wide), 10)
    assert array.shape == (10, 10, 3)
    assert array.min() == 255


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = imaging.decode(image_bytes(5))
    assert np.array_equal(imaging.evaluation_array(image, 16), np.asarray(image))


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_what_is_grey(format: str) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (40, 30), dtype=np.uint8)
    grey = Image.fromarray(np.stack([noise] * 3, axis=2))
    assert imaging.is_grey(imaging.decode(saved(grey, format)))
    assert imaging.is_grey(imaging.decode(saved(grey.convert("L"), format)))
    assert not imaging.is_grey(imaging.decode(image_bytes(1)))
    faint = np.full((64, 64, 3), 100, np.uint8)
    faint[20:30, 33:45, 0] = 118  # a pale patch where none of the pixels is that are looked at first
    assert not imaging.is_grey(imaging.decode(saved(Image.fromarray(faint), format)))
