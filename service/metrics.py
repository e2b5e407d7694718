"""Figures for Prometheus that are right with several API processes: they count into files that they share, and the other
figures are read from the database on each request."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

_PREFIX = f"anchorhood-metrics-{os.getuid()}-"
_REQUEST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
_ENCODE_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

_shared: Path | None = None  # where this process and its siblings count, if it has any


@contextmanager
def folder_to_share() -> Iterator[Path]:
    """A new folder for the figures of several processes; it goes with this process, or at the next start.

    It lies in memory: on a full disk, a process that writes to a mapped file would be killed.
    """
    memory = Path("/dev/shm")  # noqa: S108 -- the name is random, and the folder its owner's alone
    home = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    for left in home.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError), _held(left) as free:  # another API that starts may be clearing up, too
            if free:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=home) as name, _held(Path(name)):
        yield Path(name)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Whether no other process has this folder; it is held until the end of the block or of this process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def share(folder: Path, number: int) -> None:
    """Count in a folder, as one of several processes; before any ``Metrics`` is made.

    Args:
        number: of this process. One that takes the place of a killed one goes on from its figures, so that nothing that was
            counted is lost and restarts leave no files behind.
    """
    global _shared
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # where the library looks for it
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
    _shared = folder


class Metrics:
    """What the API counts. No figure of a single process is a gauge, so that none outlives its process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "anchorhood_http_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "anchorhood_http_request_seconds",
            "Time from a request's headers to the beginning of its answer.",
            ["method", "route"],
            buckets=_REQUEST_BUCKETS,
            registry=self._registry,
        )
        self.encoding = Histogram(
            "anchorhood_query_encode_seconds",
            "Time to decode and encode one image of a query.",
            buckets=_ENCODE_BUCKETS,
            registry=self._registry,
        )

    def text(self, stored: Collector) -> bytes:
        """Everything, in Prometheus' text format.

        Args:
            stored: the figures from the database.
        """
        registry = self._registry
        if _shared:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(_shared))  # type: ignore[no-untyped-call]
        both = CollectorRegistry()
        both.register(stored)
        return generate_latest(registry) + generate_latest(both)
