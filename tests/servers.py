"""PostgreSQL, Redis and the production system as processes that a test started for itself, and may kill."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import psycopg
import redis

from tests.live import Running, wait_for

_CLI = (sys.executable, "-m", "anchorhood")
_POSTGRES_BINARIES = "/usr/lib/postgresql/*/bin"  # Debian's


class Service:
    """A process that ``look`` starts again when it has ended, as a container engine would."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path, user: str | None = None) -> None:
        self.name, self._command, self._env, self.log, self._user = name, command, dict(env), log, user
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self._command, env={**os.environ, **self._env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=self._user
            )
        self._started = time.monotonic()

    def look(self) -> None:
        """Start again, at most once a second."""
        if self.process is not None and self.process.poll() is not None and time.monotonic() - self._started > 1:
            self.start()

    def stop(self, number: int = signal.SIGTERM, patience: float = 60) -> None:
        """Send a signal and wait for the end."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(number)
            self.process.wait(patience)
            self.process = None


class Postgres:
    """A cluster of its own, on a free port of this machine."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="anchorhood-postgres-"))
        user = "postgres" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root
        if user:
            account = pwd.getpwnam(user)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self._binaries = max(Path("/").glob(f"{_POSTGRES_BINARIES[1:]}"), key=lambda path: int(path.parent.name))
        initdb = [self._binaries / "initdb", "-D", self.folder / "data", "-A", "trust", "-U", "postgres"]
        subprocess.run(initdb, check=True, capture_output=True, user=user, cwd="/")
        self.port = free_port()
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder}
        options |= {"shared_buffers": "32MB", "max_connections": 300}
        command = [str(self._binaries / "postgres"), "-D", str(self.folder / "data")]
        command += [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
        log = self.folder / "postgres.log"
        log.touch()
        self.service = Service("postgres", command, {}, log, user)
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def answers(self) -> bool:
        with suppress(psycopg.Error), psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=2):
            return True
        return False

    def start(self) -> "Postgres":
        """Until it answers. After a SIGKILL the memory that its old processes share must be free first."""
        self.service.start()

        def ready() -> bool:
            self.service.look()
            return self.answers()

        wait_for(ready, "PostgreSQL", 60)
        return self

    def close(self) -> None:
        self.service.stop(signal.SIGINT)  # a fast shutdown
        shutil.rmtree(self.folder)


class Redis:
    """A server of its own with an append-only file, as ``docker-compose.yml`` configures it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="anchorhood-redis-"))
        self.port = free_port()
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        command += ["--appendonly", "yes", "--maxmemory-policy", "noeviction"]
        self.service = Service("redis", command, {}, self.folder / "redis.log")
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        with suppress(redis.RedisError), redis.Redis.from_url(self.url, socket_timeout=2) as client:
            return bool(client.ping())
        return False

    def start(self) -> "Redis":
        self.service.start()
        wait_for(self.answers, "Redis", 30)
        return self

    def close(self) -> None:
        self.service.stop()
        shutil.rmtree(self.folder)


class Supervised(Running):
    """A system whose processes this one starts, and starts again where they die."""

    services: list[Service]

    def start(self) -> Self:
        for service in self.services:
            service.start()
        wait_for(self.alive, "the API", 60)
        return self

    def close(self) -> None:
        for service in self.services:
            if service.process is not None and service.process.poll() is None:
                service.process.terminate()
        for service in self.services:
            service.stop()
        self.client.close()


class Production(Supervised):
    """The API and the workers as ``docker compose`` runs them, on a database and a broker given by their URLs."""

    def __init__(self, data_dir: Path, database_url: str, broker_url: str, workers: int = 1, **settings: object) -> None:
        super().__init__(data_dir, **{"database_url": database_url, "broker_url": broker_url, "api_processes": 2, **settings})
        logs = data_dir / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self.api = Service("api", [*_CLI, "api"], self.env, logs / "api.log")
        self.workers = [
            Service(f"worker {queue} {i}", [*_CLI, "worker", "--queue", queue], self.env, logs / f"worker-{queue}-{i}.log")
            for queue in ("training", "tasks")
            for i in range(workers)
        ]
        self.services = [self.api, *self.workers]

    def migrate(self) -> None:
        subprocess.run([*_CLI, "migrate"], env={**os.environ, **self.env}, check=True, capture_output=True)


class Embedded(Supervised):
    """``anchorhood serve``, started again when it dies."""

    def __init__(self, data_dir: Path, **settings: object) -> None:
        super().__init__(data_dir, **settings)
        data_dir.mkdir(parents=True, exist_ok=True)
        self.services = [Service("serve", [*_CLI, "serve"], self.env, data_dir / "serve.log")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
