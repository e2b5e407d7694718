"""The wall clock is set an hour on and back while the system works: nothing is lost, doubled or given to another worker.

``clock.c``, preloaded into every process of the system, Valkey included, shifts the wall clock by what a file says at the
moment. libfaketime cannot do it: under it Python's ``time.sleep`` fails, which sleeps until a moment of the monotonic clock.
"""

import struct
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import picture_zip
from tests.live import Live, wait_for

pytestmark = pytest.mark.slow


class Clock:
    def __init__(self, folder: Path) -> None:
        self.library, self.file = folder / "clock.so", folder / "offset"
        source = Path(__file__).with_name("clock.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.library, source, "-ldl"], check=True)
        self.file.write_bytes(bytes(8))

    def set(self, hours: int) -> None:
        with open(self.file, "r+b") as file:  # mapped by every process
            file.write(struct.pack("q", hours * 3600))


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def live(tmp_path: Path, clock: Clock) -> Iterator[Live]:
    system = Live(tmp_path / "data", checkpoint_seconds=0.5, device="cpu")
    system.env |= {"LD_PRELOAD": str(clock.library), "CLOCK_OFFSET": str(clock.file)}
    try:
        yield system.start()
    finally:
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
