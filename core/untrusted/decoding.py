"""Untrusted images are decoded in processes of their own (``decoder.py``), with limits on memory and time.

A decoder that crashes or takes too long is replaced, and only the image that did it is refused.
"""

import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from core.errors import BadImage, Busy
from core.ground.pictures.depths import NO_DEPTHS, Depths
from core.ground.pictures.imaging import ImageError
from core.ground.processes import Child
from core.settings import Settings
from core.untrusted.requests import Answer, Request, Work, send

_MAX_PROCESSES = 4  # decoders of one process
_TRIES = 3  # for an image whose decoder was ended by a signal from outside
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_TOO_LONG = (signal.SIGPROF, signal.SIGALRM)
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "ANCHORHOOD_DATA_DIR")  # no password, no key
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}  # each reserves addresses
_COMMAND = [sys.executable, "-m", "core.untrusted.decoder"]
_PATIENCE = 5.0
_QUEUE_SECONDS = 15.0  # that a call waits at most where calls are counted
_TIMEOUT, _CRASHED = _OF_THE_DECODER = ("decoding_timeout", "decoder_crashed")


@dataclass(frozen=True)
class Checked:
    """An image that can be decoded: Pillow's name of its format, its size upright, the number of pages or frames after the first,
    its depth where it counts for the scale that the dataset's images have in common, and whether it is grey."""

    format: str
    width: int
    height: int
    further_pages: int = 0
    depth: tuple[str, float, float] | None = None  # a kind of ``depths.Depths``, its black and its white
    grey: bool = False


class _Decoder:
    """One decoder process. Not thread-safe."""

    def __init__(self, memory: int, seconds: float) -> None:
        env = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _ONE_THREAD
        self._channel, theirs = Pipe()
        with theirs:
            command = [*_COMMAND, "--bytes", str(memory), "--seconds", str(seconds)]
            channel = theirs.fileno()
            self._child = Child([*command, "--channel", str(channel)], env=env, descriptors=[channel])

    def wait_until_ready(self) -> dict[str, str]:
        """What ``confinement.confine`` returned there.

        Raises:
            EOFError: the process cannot even start.
        """
        confined: dict[str, str] = json.loads(self._channel.recv_bytes())
        return confined

    def ask(self, request: Request, files: Sequence[BinaryIO]) -> tuple[list[Answer], bytes]:
        """The answer for each file, and the bytes of all results.

        Raises:
            EOFError, OSError: the process ended instead of answering.
        """
        request = {**request, "lengths": [file.seek(0, os.SEEK_END) for file in files]}
        self._channel.send_bytes(json.dumps(request, allow_nan=False).encode())
        send(self._channel, files)
        answers = json.loads(self._channel.recv_bytes())  # never unpickled: a hostile file may speak through it
        return answers, self._channel.recv_bytes()

    def end(self) -> int:
        """Wait until the process has ended; returns its exit code."""
        self._channel.close()
        code = self._child.wait_or_kill(_PATIENCE)
        self._child.close()
        return code

    def kill(self) -> None:
        """Kill the process at once; another thread may be waiting for its answer."""
        self._child.kill()


def _request(work: Work, size: int, max_pixels: int, depths: Depths) -> Request:
    return {"work": work, "size": size, "max_pixels": max_pixels, "depths": dict(depths), "lengths": []}


def _checked(
    format: str, width: int, height: int, further_pages: int, depth: tuple[str, float, float] | None, grey: bool
) -> Checked:
    return Checked(format, width, height, further_pages, None if depth is None else (depth[0], depth[1], depth[2]), grey)


class Decoders:
    """Decoders for one purpose, started when needed, up to one for each CPU and at most four. Thread-safe.

    Args:
        waiting: calls that may wait for a decoder, and not for long; any number for as long as it takes by default.
    """

    def __init__(self, settings: Settings, waiting: int | None = None) -> None:
        self._memory, self._seconds = settings.decode_memory_bytes, settings.decode_seconds
        self.max_processes = min(_MAX_PROCESSES, os.cpu_count() or 1)
        self._free = threading.Semaphore(self.max_processes)
        self._patience = None if waiting is None else _QUEUE_SECONDS
        self._places = None if waiting is None else threading.Semaphore(self.max_processes + waiting)
        self._idle: list[_Decoder] = []
        self._all: set[_Decoder] = set()
        self._lock = threading.Lock()
        self._closed = False

    def confinement(self) -> dict[str, str]:
        """How a new decoder is kept from everything but decoding: as ``confinement.confine``."""
        decoder = _Decoder(self._memory, self._seconds)
        try:
            return decoder.wait_until_ready()
        finally:
            decoder.end()

    def check(self, files: Sequence[bytes], max_pixels: int) -> list[Checked | ImageError]:
        """Decode some files. For each the result says what it is, or why it is refused."""
        opened = [io.BytesIO(file) for file in files]
        answers, _ = self._ask(_request("check", 0, max_pixels, NO_DEPTHS), opened) if files else ([], b"")
        return [ImageError(*answer) if len(answer) == 2 else _checked(*answer) for answer in answers]

    def pixels(self, file: BinaryIO, size: int, max_pixels: int, depths: Depths = NO_DEPTHS) -> NDArray[np.uint8]:
        """What an encoder sees of a file's image, uint8 (size, size, 3), as ``imaging.evaluation_array``.

        Raises:
            BadImage: it cannot be decoded.
            Busy: too many wait already, or this call had to wait too long.
        """
        pixels = self._only_result(_request("pixels", size, max_pixels, depths), file)
        return np.frombuffer(pixels, np.uint8).reshape(size, size, 3)

    def thumbnail(self, file: BinaryIO, size: int, max_pixels: int, depths: Depths = NO_DEPTHS) -> bytes:
        """As ``imaging.thumbnail``.

        Raises:
            BadImage: it cannot be decoded.
            Busy: as ``pixels``.
        """
        return self._only_result(_request("thumbnail", size, max_pixels, depths), file)

    def _only_result(self, request: Request, file: BinaryIO) -> bytes:
        if self._places is not None and not self._places.acquire(blocking=False):
            raise Busy("as many images are being decoded as may be at once; try again later")
        try:
            (answer,), result = self._ask(request, [file])
        finally:
            if self._places is not None:
                self._places.release()
        if answer:
            code, message = answer
            raise BadImage(message, code if code in _OF_THE_DECODER else "bad_image")
        return result

    def _ask(self, request: Request, files: Sequence[BinaryIO]) -> tuple[list[Answer], bytes]:
        code = 0
        for _ in range(_TRIES):
            with self._turn():
                decoder = self._acquire()
                try:
                    answer = decoder.ask(request, files)
                except (EOFError, OSError):
                    code = self._discard(decoder)
                except BaseException:
                    decoder.kill()
                    self._discard(decoder)
                    raise
                else:
                    self._idle.append(decoder)
                    return answer
            if len(files) > 1:  # any of them may have caused it, so each is decoded by itself
                return [self._ask(request, [file])[0][0] for file in files], b""
            if -code not in _FROM_OUTSIDE:
                break
        return [self._refusal(code)], b""

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._free.acquire(timeout=self._patience):
            raise Busy(f"no image could be decoded for {self._patience:g} s, since others are; try again later")
        try:
            yield
        finally:
            self._free.release()

    def _acquire(self) -> _Decoder:
        with self._lock:
            if self._closed:
                raise RuntimeError("the decoders are closed")
            if self._idle:
                return self._idle.pop()
            decoder = _Decoder(self._memory, self._seconds)
            self._all.add(decoder)
        try:
            decoder.wait_until_ready()
        except EOFError:
            raise RuntimeError(f"a decoder did not start: exit code {self._discard(decoder)}") from None
        return decoder

    def _discard(self, decoder: _Decoder) -> int:
        code = decoder.end()
        with self._lock:
            self._all.discard(decoder)
            if self._closed:
                raise RuntimeError("the decoders are closed")
        return code

    def _refusal(self, code: int) -> list[str]:
        if -code in _TOO_LONG:
            return [_TIMEOUT, f"takes more than {self._seconds:g} s to decode, which is the most allowed"]
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return [_CRASHED, f"the decoder crashed over it ({how})"]

    def close(self) -> None:
        """End all decoders; a thread that waits for one gets a ``RuntimeError``."""
        with self._lock:
            self._closed = True
            for decoder in self._all:
                decoder.kill()
            for decoder in self._idle:
                decoder.end()
                self._all.discard(decoder)
            self._idle.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
