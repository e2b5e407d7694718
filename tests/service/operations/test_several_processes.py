"""Metrics of an API of several processes, which are killed one after another."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.settings import Settings
from core.store import migrate
from tests.live import wait_for

pytestmark = pytest.mark.slow
PROCESSES = 3


@contextmanager
def api(settings: Settings, last: signal.Signals = signal.SIGTERM) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    migrate.upgrade(settings.database)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {"DATA_DIR": settings.root, "PORT": port, "API_PROCESSES": PROCESSES}
    given = {**os.environ, **{f"ANCHORHOOD_{name}": str(value) for name, value in env.items()}}
    process = subprocess.Popen([sys.executable, "-m", "service.api"], env=given, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(children(process.pid)) == PROCESSES and answers(f"http://127.0.0.1:{port}"), "the API", 60)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.send_signal(last)
        process.wait(60)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def folder_of(api: int) -> Path:
    """Where the children count; told from their command, since other APIs of this machine have folders of the same kind."""
    command = Path(f"/proc/{children(api)[0]}/cmdline").read_text().split("\0")
    return Path(command[command.index("--metrics") + 1])


def counted(url: str) -> float:
    """Requests to a route, by whichever process answers."""
    found = httpx.get(f"{url}/metrics", timeout=60)
    assert found.status_code == 200, found.text
    for family in text_string_to_metric_families(found.text):
        for sample in family.samples:
            if sample.name == "anchorhood_http_requests_total" and sample.labels["route"] == "/datasets":
                return sample.value
    return 0


def ask(url: str, times: int) -> None:
    for _ in range(times):  # a connection each, so that every process gets some
        assert httpx.get(f"{url}/datasets", timeout=60).status_code == 200


def test_nothing_counted_is_lost_when_processes_are_killed(settings: Settings) -> None:
    with api(settings) as (url, process):
        folder = folder_of(process.pid)
        asked = 0
        for _ in range(3):
            ask(url, 40)
            asked += 40
            assert {counted(url) for _ in range(6)} == {asked}  # whichever process is asked
            victim = children(process.pid)[0]
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda victim=victim: len(set(children(process.pid)) - {victim}) == PROCESSES, "another process", 60)
            wait_for(lambda: answers(url), "the API", 30)
        ask(url, 40)
        assert counted(url) == asked + 40
        assert len(list(folder.glob("*.db"))) <= 2 * PROCESSES  # counters and histograms; restarts add none
    assert not folder.exists()


def test_what_a_killed_api_leaves_goes_at_the_next_start(settings: Settings) -> None:
    with api(settings, signal.SIGKILL) as (url, process):
        left = folder_of(process.pid)
        ask(url, 3)
    with api(settings) as (url, process):
        folder = folder_of(process.pid)
        assert folder != left
        assert not left.exists()
        ask(url, 2)
        assert counted(url) == 2
    assert not folder.exists()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace, which .ci/run installs, shows how connections are set up")
def test_no_answer_waits_for_an_acknowledgement(settings: Settings, tmp_path: Path) -> None:
    """An answer is sent in two parts; with Nagle's algorithm the second would wait for the first to be acknowledged, 40 ms."""
    with api(settings) as (url, process):
        calls = tmp_path / "calls"
        about = ["strace", "-f", "-qq", "-e", "trace=setsockopt", "-o", str(calls)]
        tracer = subprocess.Popen([*about, *(argument for pid in children(process.pid) for argument in ("-p", str(pid)))])
        wait_for(lambda: all(traced(pid) for pid in children(process.pid)), "strace", 60)
        ask(url, 12)
        tracer.terminate()
        tracer.wait(60)
    assert calls.read_text().count("TCP_NODELAY, [1]") >= 12


def traced(pid: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
