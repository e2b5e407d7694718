"""The wall clock is set an hour on and back while the system works: nothing is lost, doubled or given to another worker.

libfaketime (Debian's package ``faketime``) shifts the wall clock of every process of the system, Valkey included, by what a
file says at the moment; the monotonic clock is left alone, as it is when somebody sets a machine's clock.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import picture_zip
from tests.live import Live, wait_for

pytestmark = pytest.mark.slow


class Clock:
    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, hours: int) -> None:
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(f"{hours * 3600:+d}\n")
        temporary.rename(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


@pytest.fixture
def live(tmp_path: Path, clock: Clock) -> Iterator[Live]:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    assert library is not None, "install Debian's package faketime"
    system = Live(tmp_path / "data", checkpoint_seconds=0.5, device="cpu")
    system.env |= {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    yield system.start()
    system.close()


def ahead(live: Live, dataset: str) -> timedelta:
    """How far the clock of the system was ahead of ours when a dataset was uploaded just now."""
    return datetime.fromisoformat(live.get(f"/datasets/{dataset}")["created_at"]) - datetime.now(UTC)


def test_an_hour_on_and_back(live: Live, clock: Clock, tmp_path: Path) -> None:
    dataset = live.upload(picture_zip(tmp_path / "a.zip", 100))
    job = live.train(dataset, epochs_first=40, epochs=20)
    wait_for(lambda: any((live.data_dir / "runs" / job).glob("*/checkpoints/r*.pt")), "a checkpoint", 90)
    for hours, name in ((1, "b"), (-1, "c"), (0, "d")):
        clock.set(hours)
        other = live.upload(picture_zip(tmp_path / f"{name}.zip", 12, first=1000 * (hours + 2)))
        assert abs(ahead(live, other) - timedelta(hours=hours)) < timedelta(minutes=5)
        time.sleep(6)  # longer than the silence after which a worker counts as lost
        assert live.get("/readyz")["status"] == "ok"
    found = live.finished(job, 240)
    assert (found["status"], found["attempt"]) == ("succeeded", 1), found
    events = live.events(job)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events if event["type"] in ("queued", "running", "succeeded")] == [
        "queued",
        "running",
        "succeeded",
    ]
    epochs = [(event["data"]["round"], event["data"]["epoch"]) for event in events if event["type"] == "epoch"]
    assert epochs == [(0, epoch) for epoch in range(40)] + [(1, epoch) for epoch in range(20)]
    image = live.get(f"/datasets/{dataset}/images?limit=1")["data"][0]["id"]
    assert len(live.get(f"/neighbours?image_id={image}&k=5")["neighbours"]) == 5
