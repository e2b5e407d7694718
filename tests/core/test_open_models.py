"""Filtered search in a collection large enough for a graph index, against brute force."""

from pathlib import Path

import numpy as np
import pytest

from core import index, manifest, texts
from core.open_models import EXACT_ROWS, OpenModel

COUNT = 24_000


@pytest.fixture(scope="module", params=["auto", "ivf"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenModel:
    folder = tmp_path_factory.mktemp("model")
    vectors = np.random.default_rng(0).normal(size=(COUNT, 12)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(folder / "embeddings.npy", vectors)
    np.save(folder / "ids.npy", np.random.default_rng(1).permutation(COUNT).astype(np.int64) + 100)
    built = index.build(vectors, folder / "index.faiss", request.param)
    assert built.kind == ("hnsw" if request.param == "auto" else "ivf")
    assert built.recall_at_10 >= 0.95
    texts.write(folder / texts.PATHS, (f"{row}.png" for row in range(COUNT)))
    manifest.write(folder, {})
    return OpenModel(folder)


def brute_force(model: OpenModel, vector: np.ndarray, allowed: np.ndarray, count: int) -> list[int]:
    scores = model.embeddings[allowed] @ vector
    return [int(row) for row in allowed[np.argsort(-scores, kind="stable")[:count]]]


@pytest.mark.parametrize("allowed", [1, 3, 40, 3000, EXACT_ROWS])
def test_few_allowed_rows_are_searched_exactly(model: OpenModel, allowed: int) -> None:
    rows = np.sort(np.random.default_rng(2).permutation(COUNT)[:allowed])
    for query in (0, 1, 2):
        found, scores = model.nearest(np.array(model.embeddings[query]), 10, rows)
        assert found.tolist() == brute_force(model, model.embeddings[query], rows, 10)
        assert len(found) == min(10, allowed)
        assert (np.diff(scores) <= 0).all()


def test_many_allowed_rows_give_k_of_them_and_nearly_the_best(model: OpenModel) -> None:
    rows = np.sort(np.random.default_rng(3).permutation(COUNT)[: EXACT_ROWS + 500])
    hits = 0
    for query in range(50):
        found, _ = model.nearest(np.array(model.embeddings[query]), 10, rows)
        assert len(set(found.tolist())) == 10
        assert set(found.tolist()) <= set(rows.tolist())
        hits += len(set(found.tolist()) & set(brute_force(model, model.embeddings[query], rows, 10)))
    assert hits >= 0.95 * 500


def test_rows_of_images(model: OpenModel) -> None:
    wanted = np.array([model.ids[5], 3, model.ids[0], 10**12], np.int64)
    assert model.rows_of(wanted).tolist() == [0, 5]
    assert model.row(int(model.ids[5])) == 5
    assert model.row(3) is None


def test_the_kind_follows_from_size_and_memory() -> None:
    assert index.choose(20_000, 128) == "flat"
    assert index.choose(20_001, 128, memory=8 << 30) == "hnsw"
    assert index.choose(1_000_000, 128, memory=8 << 30) == "hnsw"
    assert index.choose(10_000_000, 128, memory=8 << 30) == "ivf"


@pytest.mark.parametrize("count", [1, 5, 300])
@pytest.mark.parametrize("kind", index.KINDS)
def test_every_kind_holds_few_vectors_too(tmp_path: Path, kind: str, count: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(count, 12)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    built = index.build(vectors, tmp_path / "index.faiss", kind)
    assert (built.kind, built.recall_queries) == (kind, count) and built.recall_at_10 >= 0.97
    _, found = index.load(tmp_path / "index.faiss").search(vectors, 1)
    assert found[:, 0].tolist() == list(range(count))
