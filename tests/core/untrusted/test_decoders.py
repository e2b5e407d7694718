"""Decoders that are killed, starved and kept busy."""

import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import BadImage
from core.ground.pictures import imaging
from core.ground.pictures.imaging import ImageError
from core.settings import Settings
from core.untrusted.decoding import Checked, Decoders
from tests.conftest import image_bytes
from tests.live import wait_for

GOOD = image_bytes(1)
BIG = 64_000_000


@pytest.fixture(scope="module")
def slow() -> bytes:
    """A file whose decoding takes some tenths of a second and hundreds of MB."""
    file = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(file, "PNG", compress_level=1)
    return file.getvalue()


class _Watched(io.BytesIO):
    """A file that knows the most that was read of it at once."""

    most = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.most = max(self.most, len(data))
        return data


@pytest.fixture
def decoders(settings: Settings) -> Iterator[Decoders]:
    with Decoders(settings) as made:
        yield made


def processes(parent: int | None = None) -> set[int]:
    """The decoders of a process, by default of this one."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            state, above = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if b"core.untrusted.decoder" in command and int(above) == (parent or os.getpid()) and state != "Z":
            found.add(int(entry.name))
    return found


def codes(found: list[Checked | ImageError]) -> list[str]:
    return [each.code if isinstance(each, ImageError) else each.format for each in found]


def test_what_comes_back_is_what_decoding_here_gives(decoders: Decoders) -> None:
    data = image_bytes(3, format="JPEG", size=(40, 30))
    assert decoders.check([data, GOOD, b"text", data[:-200]], BIG)[:2] == [Checked("JPEG", 40, 30), Checked("PNG", 16, 16)]
    assert codes(decoders.check([b"text", data[:-200]], BIG)) == ["not_an_image", "truncated"]
    assert np.array_equal(decoders.pixels(io.BytesIO(data), 24, BIG), imaging.evaluation_array(imaging.decode(data), 24))
    assert decoders.thumbnail(io.BytesIO(data), 16, BIG) == imaging.thumbnail(data, 16)
    with pytest.raises(BadImage, match="40 x 30 pixels") as caught:
        decoders.pixels(io.BytesIO(data), 24, 100)
    assert caught.value.code == "bad_image"


def test_a_slow_file_is_refused_and_those_beside_it_are_not(settings: Settings, slow: bytes) -> None:
    with Decoders(settings.model_copy(update={"decode_seconds": 0.05})) as decoders:
        assert codes(decoders.check([GOOD, slow, GOOD], BIG)) == ["PNG", "decoding_timeout", "PNG"]
        with pytest.raises(BadImage, match=r"more than 0\.05 s") as caught:
            decoders.thumbnail(io.BytesIO(slow), 16, BIG)
        assert caught.value.code == "decoding_timeout"


def test_a_file_that_takes_too_much_memory_ends_nothing(settings: Settings, slow: bytes) -> None:
    with Decoders(settings.model_copy(update={"decode_memory_bytes": 64 << 20})) as decoders:
        assert codes(decoders.check([GOOD], BIG)) == ["PNG"]
        before = processes()
        assert codes(decoders.check([slow, GOOD], BIG)) == ["too_many_pixels", "PNG"]
        assert processes() == before


@pytest.mark.slow
def test_an_image_of_as_many_pixels_as_allowed_fits(decoders: Decoders) -> None:
    file = io.BytesIO()
    Image.new("RGBA", (8000, 8000), (1, 2, 3, 4)).save(file, "PNG", compress_level=1)
    assert codes(decoders.check([file.getvalue()], BIG)) == ["PNG"]
    Image.new("I;16", (8000, 8000), 77).save(file := io.BytesIO(), "TIFF")
    assert codes(decoders.check([file.getvalue()], BIG)) == ["TIFF"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGSEGV, "decoder_crashed"), (signal.SIGKILL, "PNG")])
def test_a_crash_refuses_the_file_and_a_kill_from_outside_does_not(
    decoders: Decoders, slow: bytes, number: signal.Signals, code: str
) -> None:
    decoders.check([GOOD], BIG)
    (process,) = processes()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(decoders.check, [slow], BIG)
        time.sleep(0.1)  # it may even come before the file does
        os.kill(process, number)
        assert codes(answer.result(60)) == [code]
    assert codes(decoders.check([GOOD], BIG)) == ["PNG"]
    assert process not in processes()


def test_many_threads_share_a_few_processes(decoders: Decoders) -> None:
    files = [image_bytes(seed) for seed in range(60)]
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda file: decoders.pixels(io.BytesIO(file), 16, BIG), files))
    for file, pixels in zip(files, found, strict=True):
        assert np.array_equal(pixels, np.asarray(imaging.decode(file)))
    assert len(processes()) <= decoders.max_processes


def test_closing_frees_who_waits(decoders: Decoders, slow: bytes) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(decoders.check, [slow], BIG)
        wait_for(lambda: bool(processes()), "the decoder", 30)
        decoders.close()
        with pytest.raises(RuntimeError, match="closed"):
            answer.result(30)
    assert not processes()


def test_no_secret_is_handed_down(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCHORHOOD_DATABASE_URL", "postgresql://user:hunter2@host/name")
    decoders.check([GOOD], BIG)
    (process,) = processes()
    assert b"hunter2" not in Path(f"/proc/{process}/environ").read_bytes()
    assert Path(f"/proc/{process}/limits").read_text().count("Max core file size        0 ") == 1


_PARENT = """
import sys
from core.untrusted.decoding import Decoders
from core.settings import Settings
decoders = Decoders(Settings())
decoders.check([sys.stdin.buffer.read()] * 50, 64_000_000)
"""


def test_it_ends_with_its_parent(slow: bytes) -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdin=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        parent.stdin.write(slow)
        parent.stdin.close()
        wait_for(lambda: bool(processes(parent.pid)), "the decoder", 30)
        (process,) = processes(parent.pid)
        parent.kill()
    wait_for(lambda: not Path(f"/proc/{process}").exists(), "its end", 30)


def test_little_of_a_large_file_is_in_memory(decoders: Decoders) -> None:
    noise = Image.frombytes("RGB", (1200, 1200), random.Random(0).randbytes(3 * 1200 * 1200))
    noise.save(file := _Watched(), "PNG")
    pixels = decoders.pixels(file, 32, BIG)
    assert np.array_equal(pixels, imaging.evaluation_array(imaging.decode(file.getvalue()), 32))
    assert 0 < file.most <= 1 << 20 < len(file.getvalue()) / 4
