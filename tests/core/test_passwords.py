"""Passwords come from files, never from a URL that a process's environment shows."""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import BadSettings
from core.jobs.bell import Bell, make_app
from core.settings import Settings
from tests.live import wait_for

PASSWORD = "p@ss/w:rd%41#?"


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "broker-password"
    path.write_text(PASSWORD + "\n")
    return path


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://redis:6379/0", "redis://:p%40ss%2Fw%3Ard%2541%23%3F@redis:6379/0"),
        ("rediss://someone@redis/3?timeout=1", "rediss://someone:p%40ss%2Fw%3Ard%2541%23%3F@redis/3?timeout=1"),
        ("", "redis+socket://"),  # the embedded one is reached by who may open its socket
    ],
)
def test_the_password_is_put_into_the_url(settings: Settings, password: Path, url: str, found: str) -> None:
    given = settings.model_copy(update={"broker_url": url, "broker_password_file": password})
    assert given.broker.startswith(found) if not url else given.broker == found


@pytest.mark.parametrize("url", ["redis://:another@redis:6379/0", "redis"])
def test_a_url_that_takes_no_password_is_named(settings: Settings, password: Path, url: str) -> None:
    with pytest.raises(BadSettings, match=r"^ANCHORHOOD_BROKER_URL: ") as caught:
        _ = settings.model_copy(update={"broker_url": url, "broker_password_file": password}).broker
    assert "another" not in str(caught.value) and PASSWORD not in str(caught.value)


def test_a_file_that_is_not_there_is_named(settings: Settings, tmp_path: Path) -> None:
    given = settings.model_copy(update={"broker_url": "redis://redis", "broker_password_file": tmp_path / "nothing"})
    with pytest.raises(BadSettings, match=r"^ANCHORHOOD_BROKER_PASSWORD_FILE: cannot be read: No such file"):
        _ = given.broker


@pytest.fixture
def redis(password: Path, tmp_path: Path) -> Iterator[str]:
    """A Redis that is told its password as in docker-compose.yml."""
    if not shutil.which("redis-server"):
        pytest.skip("needs redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "-", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as server:
        assert server.stdin is not None
        server.stdin.write(f"requirepass {PASSWORD}\n".encode())
        server.stdin.close()
        assert PASSWORD.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
        yield f"redis://127.0.0.1:{port}/0"
        server.terminate()


@pytest.mark.redis
def test_the_broker_answers_who_has_its_password(settings: Settings, password: Path, redis: str) -> None:
    given = settings.model_copy(update={"broker_url": redis, "broker_password_file": password})
    wait_for(lambda: Bell(make_app(given)).answers(), "Redis", 30)
    assert not Bell(make_app(given.model_copy(update={"broker_password_file": None}))).answers()


def test_compose_passes_no_password_in_the_environment_or_a_command_line() -> None:
    text = (Path(__file__).parents[2] / "docker-compose.yml").read_text()
    assert re.findall(r"ANCHORHOOD_\w*PASSWORD\w*: (\S+)", text) == ["/secrets/database-password", "/secrets/broker-password"]
    assert "--requirepass" not in text
