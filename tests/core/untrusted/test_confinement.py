"""What a decoder can do that a hostile picture has taken over."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from core.ground.pictures.imaging import ImageError
from core.settings import Settings
from core.untrusted import decoding
from core.untrusted.decoding import Checked, Decoders
from tests.conftest import image_bytes
from tests.core.hostile_files import corpus
from tests.core.untrusted import hostile_decoder
from tests.core.untrusted.test_decoders import processes

BIG = 64_000_000
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="system calls are filtered on Linux alone")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that everybody may read, in folders through which everybody may go: only the filter is between."""
    path = tmp_path / "admin-key"
    path.write_text("ah_secret")
    return path


def taken_over(
    settings: Settings, secret: Path, monkeypatch: pytest.MonkeyPatch, only: tuple[str, ...] = ("",)
) -> dict[str, Any]:
    monkeypatch.setattr(decoding, "_COMMAND", [sys.executable, hostile_decoder.__file__])
    picture = json.dumps({"secret": str(secret), "parent": os.getpid(), "only": only}).encode()
    with Decoders(settings) as decoders:
        (answer,) = decoders.check([picture], BIG)
    assert isinstance(answer, ImageError) and answer.code == "taken over", answer
    found: dict[str, Any] = json.loads(str(answer))
    return found


def test_a_decoder_that_is_taken_over_gets_nothing(settings: Settings, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCHORHOOD_DATABASE_PASSWORD_FILE", str(secret))
    found = taken_over(settings, secret, monkeypatch)
    assert len(found["got"]) > 20
    assert {name: how for name, how in found["got"].items() if how.startswith("worked")} == {}
    assert set(found["environment"]) <= {"ANCHORHOOD_DATA_DIR"}
    assert secret.read_text() == "ah_secret" and not Path("/tmp/written-by-a-decoder").exists()


@pytest.mark.parametrize("alone", ["_filter", "_limits"])
def test_one_measure_alone_keeps_the_secret(
    alone: str, settings: Settings, secret: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As the same user, who may read the file: the filter is enough, and so are the limits where there is no libseccomp."""
    program = tmp_path / "weaker.py"
    program.write_text(
        "import runpy\nfrom core.untrusted import confinement\n"
        f"for name in {{'_filter', '_limits', '_another_user'}} - {{{alone!r}}}:\n"
        "    setattr(confinement, name, lambda *_: 'left out')\n"
        f"runpy.run_path({hostile_decoder.__file__!r}, run_name='__main__')\n"
    )
    monkeypatch.setattr(hostile_decoder, "__file__", str(program))
    only = ("",) if alone == "_filter" else ("read", "write", "open", "list")
    got = taken_over(settings, secret, monkeypatch, only)["got"]
    assert len(got) > 5
    assert {name: how for name, how in got.items() if how.startswith("worked")} == {}


def test_all_measures_are_in_force_and_said(settings: Settings) -> None:
    with Decoders(settings) as decoders:
        said = decoders.confinement()
        assert not processes()
        decoders.check([image_bytes(1)], BIG)
        (process,) = processes()
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        held = {os.readlink(each) for each in Path(f"/proc/{process}/fd").iterdir()}
    assert said["limits"] == said["filter"] == ""
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    assert (said["user"] == "") == (os.geteuid() == 0) == (status["Uid"].split()[0] == "65534")
    assert {name.partition(":")[0] for name in held} == {"/dev/null", "pipe", "socket"}, (
        "more than the channel and the parent's pipe"
    )


def test_nothing_is_decoded_otherwise(settings: Settings) -> None:
    """Whatever a decoder loads at first use is loaded before it can open no file any more."""
    files = corpus()
    with Decoders(settings) as decoders:
        for name, data in files.items():
            assert isinstance(decoders.check([data], BIG)[0], Checked), name
            assert decoders.thumbnail(io.BytesIO(data), 16, BIG), name
