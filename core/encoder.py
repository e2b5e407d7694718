"""Encoding uploaded images by ONNX Runtime, with the preprocessing that the trainer evaluates with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from core import imaging


class Encoder:
    """A published ``encoder.onnx``: uint8 (batch, S, S, 3) in, unit vectors float32 (batch, d) out. Thread-safe."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.size = int(self._session.get_inputs()[0].shape[1])

    def __call__(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embed decoded RGB images, as ``imaging.decode`` returns them: unit rows (len(images), d)."""
        batch = np.stack([imaging.evaluation_array(image, self.size) for image in images])
        (embeddings,) = self._session.run(None, {"images": batch})
        return np.asarray(embeddings, dtype=np.float32)
