"""The whole system in folders whose names mean something to a URL, a shell, a pattern or a configuration file."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import picture_zip
from tests.core.jobs.test_bell import OTHERS
from tests.live import Live

pytestmark = pytest.mark.slow
NAME = "what? #1 100%41 it's Ünï"


def anchorhood(live: Live, *arguments: str) -> Any:
    command = [sys.executable, "-m", "anchorhood", *arguments]
    done = subprocess.run(command, env={**os.environ, **live.env}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_is_in_the_folder_and_nothing_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = picture_zip(tmp_path / "pictures.zip", 16)
    home = tmp_path / "My Projects"
    home.mkdir()
    monkeypatch.chdir(home)
    one, beside = Live(Path(NAME)), Live(Path("what"))  # relative; the one's database was once the other's
    one.env |= OTHERS
    third = Live(home / os.fsdecode(b"-third [x]*;$HOME\n\xff"))
    try:
        one.start()
        beside.start()
        dataset = one.upload(pictures)
        assert beside.get("/datasets")["data"] == []
        key = json.loads(anchorhood(one, "keys", "create", "mine", "--scope", "admin", "--json"))["key"]
        assert beside.get("/datasets")["data"] == []  # without a key: it has none
        beside.close()
        one.stop()

        one.start()
        one.client.headers["Authorization"] = f"Bearer {key}"
        assert one.finished(one.train(dataset, rounds=1))["status"] == "succeeded"
        first = one.get(f"/datasets/{dataset}/images?limit=1")["data"][0]["id"]
        before = one.get(f"/neighbours?image_id={first}&k=5")["neighbours"]
        assert len(before) == 5
        anchorhood(one, "backup", f"saved {NAME}")
        one.close()

        anchorhood(third, "restore", f"saved {NAME}")
        third.start()
        third.client.headers["Authorization"] = f"Bearer {key}"
        assert third.get(f"/neighbours?image_id={first}&k=5")["neighbours"] == before
        assert b"wrong" not in anchorhood(third, "doctor")
    finally:
        for live in (one, beside, third):
            live.close()
    names = {NAME, "what", f"saved {NAME}", third.data_dir.name}
    assert {os.fsencode(path.name) for path in home.iterdir()} == set(map(os.fsencode, names))
