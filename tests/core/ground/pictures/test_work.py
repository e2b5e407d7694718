"""Small files that make much work are refused before any of it; what cameras, editors and the web make is not."""

import io

import numpy as np
import pytest
from PIL import Image

from core.ground.pictures import imaging, work
from core.ground.pictures.imaging import ImageError
from tests.core.hostile_files import corpus, laborious, with_scans


def test_what_would_take_too_long_is_refused() -> None:
    for name, data in laborious().items():
        with pytest.raises(ImageError, match="would take too long to decode") as caught:
            imaging.read(data)
        assert caught.value.code == "too_much_work", name


def test_what_every_program_writes_is_decoded() -> None:
    assert {name: work.passes(data) for name, data in corpus().items()} == dict.fromkeys(corpus(), 1)
    rng = np.random.default_rng(0)
    photograph = Image.fromarray(np.kron(rng.integers(0, 256, (30, 40, 3)), np.ones((10, 10, 1))).astype(np.uint8))
    for options in ({}, {"progressive": True}, {"progressive": True, "subsampling": 0, "quality": 95}):
        photograph.save(file := io.BytesIO(), "JPEG", **options)
        assert imaging.read(file.getvalue()).image.size == (400, 300)


def test_more_scans_than_any_program_makes_are_decoded_where_the_image_is_small() -> None:
    scans = with_scans(Image.new("L", (640, 480)), 60)
    assert imaging.read(scans).image.size == (640, 480)
    with pytest.raises(ImageError, match="at most 20 are allowed of this size"):
        imaging.read(scans, max_pixels=640 * 480)
    work.require_bounded(20, 64_000_000, 64_000_000)
    with pytest.raises(work.TooMuchWork, match="at most 20 are allowed of this size"):
        work.require_bounded(21, 64_000_000, 64_000_000)


def test_what_looks_like_a_scan_elsewhere_is_none() -> None:
    """Previews within segments, and videos and depth maps that telephones put after the picture."""
    Image.new("RGB", (64, 64)).save(file := io.BytesIO(), "JPEG", comment=b"\xff\xda" * 200)
    assert imaging.read(file.getvalue() + b"\xff\xda\0" * 200).image.size == (64, 64)


@pytest.mark.parametrize("name", corpus())
def test_any_part_of_a_file_is_judged(name: str) -> None:
    data = corpus()[name]
    for end in range(0, len(data), max(1, len(data) // 50)):
        assert work.passes(data[:end]) >= 1
