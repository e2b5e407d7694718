"""Connections to PostgreSQL: all processes together stay below its limit, or it is said."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from core.store import pools
from core.store.db import Database


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 8, 16])
def test_the_api_has_so_many_connections_however_many_processes(processes: int) -> None:
    assert 4 <= pools.of_api(processes) <= 40
    assert processes * pools.of_api(processes) <= 64


def test_too_few_connections_are_told(db: Database) -> None:
    assert pools.shortage(db, 1) is None
    told = pools.shortage(db, 256)
    if db.engine.dialect.name == "sqlite":
        assert told is None
    else:
        assert told is not None
        assert "max_connections" in told
        assert "ANCHORHOOD_API_PROCESSES" in told


@pytest.mark.parametrize("words", [("anchorhood", "doctor"), ("service.api",)])
def test_start_up_and_doctor_tell_it(db: Database, tmp_path: Path, words: tuple[str, ...]) -> None:
    if db.engine.dialect.name == "sqlite":
        pytest.skip("has no such limit")
    env = {"ANCHORHOOD_DATABASE_URL": db.url.render_as_string(hide_password=False), "ANCHORHOOD_API_PROCESSES": "256"}
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that no API starts
        env |= {"ANCHORHOOD_DATA_DIR": str(tmp_path), "ANCHORHOOD_PORT": str(taken.getsockname()[1])}
        ran = subprocess.run(
            [sys.executable, "-m", *words], env={**os.environ, **env}, capture_output=True, text=True, timeout=60
        )
    told = next(line for line in (ran.stdout + ran.stderr).splitlines() if "max_connections" in line)
    assert "ANCHORHOOD_API_PROCESSES" in told
