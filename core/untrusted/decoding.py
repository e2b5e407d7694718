"""Images that nobody vouches for are decoded in processes of their own (``decoder.py``), with limits on memory and time.

A decoder that crashes or takes too long is replaced, and only the image that did it is refused.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from core.errors import BadImage
from core.ground.depths import NO_DEPTHS, Depths
from core.ground.imaging import ImageError
from core.ground.processes import Child
from core.settings import Settings

_MOST = 4  # decoders of one process
_TRIES = 3  # at an image whose decoder somebody else ended
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_TOO_LONG = (signal.SIGPROF, signal.SIGALRM)
_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "ANCHORHOOD_DATA_DIR")  # no password, no key
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}  # each reserves addresses
_PATIENCE = 5.0
_TIMEOUT, _CRASHED = _OF_THE_DECODER = ("decoding_timeout", "decoder_crashed")


@dataclass(frozen=True)
class Checked:
    """An image that can be decoded: Pillow's name of its format, its size upright, how many further pages or frames its file
    has, and its depth where other images have a say in it."""

    format: str
    width: int
    height: int
    further_pages: int = 0
    depth: tuple[str, float, float] | None = None  # a kind of ``depths.Depths``, its black and its white


class _Decoder:
    """One decoder process. Not thread-safe."""

    def __init__(self, memory: int, seconds: float) -> None:
        env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _ONE_THREAD
        self._channel, theirs = Pipe()
        with theirs:
            command = [sys.executable, "-m", "core.untrusted.decoder", "--bytes", str(memory), "--seconds", str(seconds)]
            channel = theirs.fileno()
            self._child = Child([*command, "--channel", str(channel)], env=env, descriptors=[channel])

    def wait_until_ready(self) -> None:
        """Raises ``EOFError`` where the process cannot even start."""
        self._channel.recv_bytes()

    def ask(self, asked: dict[str, Any], files: Sequence[bytes]) -> tuple[list[Any], bytes]:
        """Raises ``EOFError`` or ``OSError`` where the process ends instead of answering."""
        asked = {**asked, "lengths": [len(file) for file in files]}
        self._channel.send_bytes(json.dumps(asked).encode())
        self._channel.send_bytes(files[0] if len(files) == 1 else b"".join(files))
        answers = json.loads(self._channel.recv_bytes())  # never unpickled: a hostile file may speak through it
        return answers, self._channel.recv_bytes()

    def end(self) -> int:
        """Its exit code, once it is over."""
        self._channel.close()
        code = self._child.wait_or_kill(_PATIENCE)
        self._child.close()
        return code

    def kill(self) -> None:
        """End it while another thread may wait for its answer."""
        self._child.kill()


def _asked(work: str, size: int, max_pixels: int, depths: Depths) -> dict[str, Any]:
    return {"work": work, "size": size, "max_pixels": max_pixels, "depths": dict(depths)}


def _checked(format: str, width: int, height: int, further: int, depth: Sequence[Any] | None) -> Checked:
    return Checked(format, width, height, further, None if depth is None else (depth[0], depth[1], depth[2]))


class Decoders:
    """The decoders of one process, started when needed, up to one for each CPU and at most four. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._memory, self._seconds = settings.decode_memory_bytes, settings.decode_seconds
        self.most = min(_MOST, os.cpu_count() or 1)
        self._free = threading.Semaphore(self.most)
        self._idle: list[_Decoder] = []
        self._all: set[_Decoder] = set()
        self._lock = threading.Lock()
        self._closed = False

    def check(self, files: Sequence[bytes], max_pixels: int) -> list[Checked | ImageError]:
        """Decode some files; for each, what it is or why it is refused."""
        answers, _ = self._ask(_asked("check", 0, max_pixels, NO_DEPTHS), files) if files else ([], b"")
        return [ImageError(*answer) if len(answer) == 2 else _checked(*answer) for answer in answers]

    def pixels(self, data: bytes, size: int, max_pixels: int, depths: Depths = NO_DEPTHS) -> NDArray[np.uint8]:
        """What an encoder sees of a file's image, uint8 (size, size, 3), as ``imaging.evaluation_array``.

        Raises:
            BadImage: it cannot be decoded.
        """
        made = self._one(_asked("pixels", size, max_pixels, depths), data)
        return np.frombuffer(made, np.uint8).reshape(size, size, 3)

    def thumbnail(self, data: bytes, size: int, max_pixels: int, depths: Depths = NO_DEPTHS) -> bytes:
        """As ``imaging.thumbnail``.

        Raises:
            BadImage: it cannot be decoded.
        """
        return self._one(_asked("thumbnail", size, max_pixels, depths), data)

    def _one(self, asked: dict[str, Any], data: bytes) -> bytes:
        (answer,), made = self._ask(asked, [data])
        if answer:
            code, message = answer
            raise BadImage(message, code if code in _OF_THE_DECODER else "bad_image")
        return made

    def _ask(self, asked: dict[str, Any], files: Sequence[bytes]) -> tuple[list[Any], bytes]:
        code = 0
        for _ in range(_TRIES):
            with self._free:
                decoder = self._taken()
                try:
                    answer = decoder.ask(asked, files)
                except (EOFError, OSError):
                    code = self._ended(decoder)
                except BaseException:
                    decoder.kill()
                    self._ended(decoder)
                    raise
                else:
                    self._idle.append(decoder)
                    return answer
            if len(files) > 1:  # which one was it? each gets a decoder for itself
                return [self._ask(asked, [file])[0][0] for file in files], b""
            if -code not in _FROM_OUTSIDE:
                break
        return [self._refusal(code)], b""

    def _taken(self) -> _Decoder:
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
            raise RuntimeError(f"a decoder did not start: exit code {self._ended(decoder)}") from None
        return decoder

    def _ended(self, decoder: _Decoder) -> int:
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
        """End all of them; who waits for one gets a ``RuntimeError``."""
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
