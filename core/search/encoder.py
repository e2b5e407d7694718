"""Encoding uploaded images by ONNX Runtime, with the preprocessing that the trainer evaluates with."""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from core.ground.pictures import imaging

Vectors = NDArray[np.float32]
_TOGETHER = 32  # most images of one batch


class _Waiting:
    """The image of a waiting thread. ``turn`` is set when ``answer`` is there, or when this thread is to run the next batch."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels
        self.turn = threading.Event()
        self.answer: Vectors | Exception | None = None


class Encoder:
    """A published ``encoder.onnx``: uint8 (batch, S, S, 3) in, unit vectors float32 (batch, d) out. Thread-safe."""

    def __init__(self, model: Path | bytes, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.size = int(self._session.get_inputs()[0].shape[1])
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._working = False

    def __call__(self, images: Iterable[Image.Image]) -> Vectors:
        """Embed decoded RGB images, as ``imaging.decode`` returns them, at least one; returns a unit row for each. Each image
        is reduced to the encoder's size before the next is taken, so a generator need hold only one at a time."""
        return self._run(np.stack([imaging.evaluation_array(image, self.size) for image in images]))

    def _run(self, batch: NDArray[np.uint8]) -> Vectors:
        (embeddings,) = self._session.run(None, {"images": batch})
        return np.asarray(embeddings, dtype=np.float32)

    def embed_one(self, pixels: NDArray[np.uint8]) -> Vectors:
        """Embed one image, (d,), in one batch with those of other threads that came while the encoder was at work.

        Args:
            pixels: (S, S, 3), as ``imaging.evaluation_array`` makes them.
        """
        mine = _Waiting(pixels)
        with self._lock:
            self._waiting.append(mine)
            if not self._working:
                self._working = True
                mine.turn.set()
        mine.turn.wait()
        if mine.answer is None:
            self._serve()
        if isinstance(mine.answer, Exception):
            raise mine.answer
        assert mine.answer is not None
        return mine.answer

    def _serve(self) -> None:
        """Embed all waiting images, this thread's own among them, then hand over to the first thread that came meanwhile."""
        with self._lock:
            batch, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
        try:
            answers: Sequence[Vectors | Exception] = list(self._run(np.stack([waiting.pixels for waiting in batch])))
        except Exception as error:
            answers = [error] * len(batch)
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.answer = answer
            waiting.turn.set()
        with self._lock:
            self._working = bool(self._waiting)
            if self._waiting:
                self._waiting[0].turn.set()
