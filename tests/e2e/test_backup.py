"""A backup that is taken while a job trains, restored into an empty system: the same answers, and the job runs to its end."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import picture_zip
from tests.e2e.test_kill import PARAMS, in_training
from tests.e2e.test_production_urls import broker_url, database_url
from tests.live import Live

pytestmark = pytest.mark.slow
__all__ = ["broker_url", "database_url"]  # fixtures


def anchorhood(live: Live, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "anchorhood", *arguments, "--json"]
    done = subprocess.run(command, env={**os.environ, **live.env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def answers(live: Live, dataset: str) -> list[Any]:
    images = live.get(f"/datasets/{dataset}/images?limit=40")["data"]
    found = [live.get(f"/neighbours?image_id={image['id']}&k=5&dataset_id={dataset}") for image in images]
    return [images, [(each["model_id"], each["neighbours"]) for each in found], live.get("/models")["data"]]


def check(first: Live, second: Live, tmp_path: Path) -> None:
    """One model, one job in training and one in the queue are saved from one system and brought into the other."""
    first.start()
    try:
        small = first.upload(picture_zip(tmp_path / "small.zip", 32))
        assert first.finished(first.train(small))["status"] == "succeeded"
        large = first.upload(picture_zip(tmp_path / "large.zip", 200, first=1000))
        job = first.train(large, **PARAMS)
        waiting = first.train(small)
        in_training(first, job)
        saved = tmp_path / "saved"
        assert anchorhood(first, "backup", str(saved))["missing"] == []
        before = answers(first, small)
    finally:
        first.close()
    shutil.rmtree(first.data_dir)  # so that nothing can be read from where it was
    try:
        anchorhood(second, "restore", str(saved))
        second.start()
        assert answers(second, small) == before
        resumed = second.finished(job, 240)
        assert resumed["status"] == "succeeded", resumed
        assert resumed["attempt"] >= 2
        events = second.events(job)
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        began = [event["data"]["resumed_at"] for event in events if event["type"] == "started"]
        assert began[0] is None and began[-1] is not None
        assert second.finished(waiting, 240)["status"] == "succeeded"
        assert anchorhood(second, "doctor")["ok"]
    finally:
        second.close()


def test_embedded(tmp_path: Path) -> None:
    check(Live(tmp_path / "one", checkpoint_seconds=0.5), Live(tmp_path / "other"), tmp_path)


@pytest.mark.postgres
@pytest.mark.redis
def test_from_the_embedded_system_to_postgresql_and_redis(database_url: str, broker_url: str, tmp_path: Path) -> None:
    one = Live(tmp_path / "one", checkpoint_seconds=0.5)
    check(one, Live(tmp_path / "other", database_url=database_url, broker_url=broker_url), tmp_path)


@pytest.mark.postgres
@pytest.mark.redis
def test_from_postgresql_and_redis(database_url: str, broker_url: str, tmp_path: Path) -> None:
    one = Live(tmp_path / "one", checkpoint_seconds=0.5, database_url=database_url, broker_url=broker_url)
    check(one, Live(tmp_path / "other"), tmp_path)
