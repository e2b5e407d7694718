"""What notebooks pass to the client: numbers and arrays of NumPy and of others, paths, labels of a table with holes."""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from anchorhood import Client
from anchorhood.values import as_int, as_ints, label_rows, to_json, vector
from tests.conftest import image_bytes
from tests.live import TINY
from tests.published import Published


class Tensor:
    """As torch's: no subclass of anything, and an array only by its methods."""

    def __init__(self, values: Any) -> None:
        self._values = np.asarray(values)

    @property
    def ndim(self) -> int:
        return self._values.ndim

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._values

    def tolist(self) -> Any:
        return self._values.tolist()


class Series(dict[Any, Any]):
    """As pandas' with an index: pairs, NaN where nothing is."""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3),
        (np.float16(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(3), 3),
        (np.arange(3), [0, 1, 2]),
        (Tensor([[1, 2]]), [[1, 2]]),
        (Path("a/b"), "a/b"),
        ({"a": (np.int8(1), None)}, {"a": [1, None]}),
        (range(2), [0, 1]),
    ],
)
def test_values_as_json_holds_them(value: Any, expected: Any) -> None:
    found = to_json(value, "it")
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: to_json({"a": [1.0, float("nan")]}, "metadata"), r"metadata.a\[1\]: nan is not a finite number"),
        (lambda: to_json(np.array([np.inf]), "vector"), "vector: inf|vector.0.: inf"),
        (lambda: to_json(object(), "it"), "cannot be sent as JSON"),
        (lambda: to_json(b"bytes", "it"), "cannot be sent as JSON"),
        (lambda: as_int(2.5, "image_id"), "image_id: '2.5' .float. is not a whole number"),
        (lambda: as_int(np.bool_(True), "image_id"), "is not a whole number"),
        (lambda: as_int("7", "image_id"), "is not a whole number"),
        (lambda: as_ints([1, None], "image_ids"), r"image_ids\[1\]: 'None'"),
        (lambda: vector(np.ones((2, 2))), "neither an id"),
        (lambda: vector(["a"]), "neither an id"),
        (lambda: label_rows({"cat/01.png": float("nan")}), "the label of cat/01.png is 'nan' .float."),
        (lambda: label_rows({"cat/01.png": np.float64("nan")}), "the label of cat/01.png is 'nan'"),
        (lambda: label_rows({"cat/01.png": 3}), "the label of cat/01.png is '3' .int.; a text is needed"),
        (lambda: label_rows({7.5: "a"}), "the image id: '7.5'"),
    ],
)
def test_values_that_json_does_not_hold_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_labels_by_any_key() -> None:
    rows = label_rows(Series({np.int64(7): np.str_("a"), PurePosixPath("b/c.png"): None, "d.png": "e", 8.0: "f"}))
    assert rows == [
        {"image_id": 7, "label": "a"},
        {"path": "b/c.png", "label": None},
        {"path": "d.png", "label": "e"},
        {"image_id": 8, "label": "f"},
    ]
    assert as_ints(Tensor(3), "ids") == [3] and as_ints(np.array([3.0, 4.0]), "ids") == [3, 4]


@pytest.fixture(scope="module")
def client(published: Published) -> Iterator[Client]:
    with Client(str(published.live.client.base_url)) as client:
        yield client


@pytest.mark.slow
def test_numpy_into_every_call(client: Client, published: Published, tmp_path: Path) -> None:
    dataset, model = np.str_(published.dataset), np.str_(published.job["model_id"])
    everything = client.embeddings(dataset)
    ids, vectors = everything.ids, everything.vectors
    zero = np.array(ids[0])  # of no dimension
    for one in (ids[0], zero, Tensor(ids[0]), float(ids[0])):
        assert len(client.neighbours(one, k=np.int64(3), min_score=np.float32(-1), offset=np.array(0))) == 3
        assert client.image(one).id == ids[0] and client.image_file(one)
        assert client.classify(one, k=np.int32(5), temperature=np.float32(0.5), min_confidence=np.float64(0)).classes
    for asked in (
        vectors[0],
        vectors[:1],
        vectors[0].astype(np.float16),
        Tensor(vectors[0]),
        list(vectors[0]),
        vectors[0].tolist(),
    ):
        assert client.neighbours(asked, k=3, dataset=dataset)[0].image_id == ids[0]
    examples = client.neighbours(positive=ids[:2], negative=Tensor(ids[-1:]), k=3, dataset=dataset, unlabelled=np.bool_(False))
    assert len(examples) == 3
    assert len(client.neighbours(ids[0], k=3, trained_towards=ids[1], label=np.array(["class-0", "class-1"]))) <= 3
    assert client.neighbours(bytearray(client.image_file(ids[0])), k=1, dataset=dataset)[0].image_id == ids[0]
    (tmp_path / "a.png").write_bytes(client.image_file(ids[0]))
    assert client.neighbours(np.str_(tmp_path / "a.png"), k=1, dataset=dataset)[0].image_id == ids[0]

    folder = tmp_path / "new"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(image_bytes(30_000 + number, 16))
    fresh = client.datasets.upload(np.str_(folder), name=np.str_("fresh")).wait()
    new = np.array([image.id for image in client.datasets.images(fresh)])
    assert client.datasets.label(fresh, {new[0]: "cat", new[1]: np.str_("dog"), new[2]: None})["set"] == 2
    assert [image.id for image in client.datasets.images(fresh, label=np.str_("dog"), unlabelled=np.bool_(False))] == [new[1]]
    with pytest.raises(ValueError, match=r"the label of 4\.png is 'nan'"):
        client.datasets.label(fresh, {"3.png": "cat", "4.png": float("nan")})
    assert sum(image.label is not None for image in client.datasets.images(fresh)) == 2
    client.delete_image(new[5])
    assert client.datasets.delete_images(fresh, new[3:5]) == 2
    client.datasets.delete(fresh)

    judged = client.datasets.leave_one_out(dataset, k=np.int64(5))
    assert judged.judged == 32
    classified = client.datasets.classify(dataset, k=np.int64(5), min_confidence=np.float32(0.5)).wait()
    assert len(client.jobs.classifications(np.str_(classified.id))) == 32
    client.models.compute_attention(model, ids[2:4]).wait()
    assert client.models.attention(model, ids[2]).image_id == ids[2]
    assert client.models.attention_map(model, ids[2], np.int64(0))
    given = {**TINY, "rounds": np.int64(1), "crop_scale": np.array([0.5, 1.0]), "flip": np.bool_(False), "seed": np.array(3)}
    job = client.jobs.create(dataset, metadata={"sizes": np.arange(2)}, **given)
    assert (job.params["rounds"], job.params["crop_scale"], job.params["flip"], job.params["seed"]) == (1, [0.5, 1.0], False, 3)
    assert job.metadata == {"sizes": [0, 1]}
    client.jobs.cancel(np.str_(job.id))
