"""Concurrent requests for an encoder."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from core.search.encoder import Encoder

SIDE = 4


@pytest.fixture(scope="module")
def mean_colour() -> bytes:
    """An encoder whose answer is the mean of the pixels, (batch, 3)."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["embeddings"], axes=[1, 2], keepdims=0),
    ]
    taken = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])
    given = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "mean", [taken], [given])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


class Counting(Encoder):
    """Its first batch waits until all other images are there, and the size of each batch is kept."""

    def __init__(self, model: bytes, others: int) -> None:
        super().__init__(model)
        self.sizes: list[int] = []
        self.others, self.all_there = others, threading.Event()

    def _run(self, batch: np.ndarray) -> np.ndarray:
        if not self.sizes:
            assert self.all_there.wait(30)
        self.sizes.append(len(batch))
        return super()._run(batch)


def solid(value: int) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), value, np.uint8)


def test_images_that_come_while_it_works_are_embedded_together(mean_colour: bytes) -> None:
    encoder = Counting(mean_colour, 40)
    with ThreadPoolExecutor(41) as pool:
        answers = [pool.submit(encoder.embed_one, solid(value)) for value in range(41)]
        while len(encoder._waiting) < 40:
            threading.Event().wait(0.01)
        encoder.all_there.set()
        for value, answer in enumerate(answers):
            assert answer.result(30).tolist() == [value] * 3
    assert encoder.sizes == [1, 32, 8]


def test_an_error_reaches_every_image_of_its_batch_and_the_next_one_works(mean_colour: bytes) -> None:
    class Failing(Encoder):
        broken = True

        def _run(self, batch: np.ndarray) -> np.ndarray:
            if self.broken:
                raise RuntimeError("no memory")
            return super()._run(batch)

    encoder = Failing(mean_colour)
    with pytest.raises(RuntimeError, match="no memory"):
        encoder.embed_one(solid(1))
    encoder.broken = False
    assert encoder.embed_one(solid(2)).tolist() == [2, 2, 2]


def test_a_generator_is_consumed_image_by_image(mean_colour: bytes) -> None:
    assert Encoder(mean_colour)(Image.fromarray(solid(value)) for value in range(3)).tolist() == [[0] * 3, [1] * 3, [2] * 3]
