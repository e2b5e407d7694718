"""A process that asks ``healthz`` every 20 ms and looks at the memory of the server's processes while something attacks it."""

import http.client
import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_EVERY = 0.02  # seconds
_PATIENCE = 60  # seconds that an answer may take before it counts as none
_PAGE = 4096


@dataclass(frozen=True)
class Cost:
    """What an attack cost: MiB of resident memory more than before, and the longest time without an answer of ``healthz``."""

    mib: float
    stall_ms: float


class Probe:
    """Measures as long as the block runs; ``cost`` says what it found. ``too_much`` is true once memory grew by ``most`` MiB."""

    def __init__(self, url: str, processes: Sequence[int], most: float) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        self._too_much = multiprocessing.Event()
        arguments = (url, list(processes), most, theirs, self._too_much.set)
        self._process = multiprocessing.get_context("fork").Process(target=_measure, args=arguments, daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self._ours.recv()  # it has seen the memory before
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ours.send("end")
        self.cost: Cost = self._ours.recv()
        self._process.join()

    @property
    def too_much(self) -> bool:
        return self._too_much.is_set()


def resident(process: int) -> float:
    """Its resident memory in MiB; 0 where it has ended."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE / (1 << 20)
    return 0.0


def _measure(url: str, processes: Sequence[int], most: float, channel: Connection, tell: Callable[[], None]) -> None:
    address = urlsplit(url)
    before = {process: resident(process) for process in processes}
    grown, stall, over = 0.0, [0.0], threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_PATIENCE)
        while not over.is_set():
            started = time.perf_counter()
            try:
                connection.request("GET", "/healthz")
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                connection.close()
            stall[0] = max(stall[0], time.perf_counter() - started)
            time.sleep(_EVERY)

    asking = threading.Thread(target=ask)
    asking.start()
    channel.send("ready")
    while not channel.poll(_EVERY):
        grown = max([grown, *(resident(process) - before[process] for process in processes)])
        if grown > most:
            tell()
    over.set()
    asking.join()
    channel.send(Cost(round(grown, 1), round(1000 * stall[0], 1)))
