"""Searches in a collection large enough for a graph index, against brute force."""

import shutil
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from core.files import manifest, texts
from core.ground.folders import ModelFile
from core.search import index
from core.search.open_models import EXACT_ROWS, OpenModel
from core.search.recent import Recent

COUNT, CLUSTERS = 24_000, 12


@pytest.fixture(scope="module", params=["auto", "ivf"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenModel:
    """Row i lies in cluster i % CLUSTERS."""
    folder = tmp_path_factory.mktemp("model")
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLUSTERS, 12))
    vectors = (np.tile(centres, (COUNT // CLUSTERS, 1)) + 0.7 * rng.normal(size=(COUNT, 12))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(folder / "embeddings.npy", vectors)
    np.save(folder / "ids.npy", np.random.default_rng(1).permutation(COUNT).astype(np.int64) + 100)
    built = index.build(vectors, folder / "index.faiss", request.param)
    assert built.kind == ("hnsw" if request.param == "auto" else "ivf")
    assert built.recall_at_10 >= 0.95
    texts.write(folder / ModelFile.PATHS, (f"{row}.png" for row in range(COUNT)))
    np.savez(folder / "neighbourhoods.npz", anchor_round=np.arange(COUNT))
    np.save(folder / "projection.npy", np.zeros((COUNT, 2), np.float32))
    (folder / "encoder.onnx").touch()
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


def test_the_best_are_found_where_all_that_is_near_is_excluded(model: OpenModel) -> None:
    every = np.arange(COUNT)
    for query in range(30):
        elsewhere = every[every % CLUSTERS != query % CLUSTERS]
        assert len(elsewhere) > EXACT_ROWS
        found, _ = model.nearest(np.array(model.embeddings[query]), 10, elsewhere)
        assert len(set(found.tolist()) & set(brute_force(model, model.embeddings[query], elsewhere, 10))) >= 9


@pytest.mark.parametrize("count", [1, 1000, 11_000, COUNT, COUNT + 5])
def test_deep_results_are_as_many_as_asked_for(model: OpenModel, count: int) -> None:
    found, scores = model.nearest(np.array(model.embeddings[3]), count)
    assert len(set(found.tolist())) == len(found) == min(count, COUNT)
    assert (np.diff(scores) <= 0).all()
    assert len(set(found.tolist()) & set(brute_force(model, model.embeddings[3], np.arange(COUNT), count))) >= 0.9 * len(found)


def test_an_open_model_outlives_its_folder(model: OpenModel, tmp_path: Path) -> None:
    folder = shutil.copytree(model.folder, tmp_path / "model")
    opened = OpenModel(folder)
    shutil.rmtree(folder)
    assert opened.neighbourhoods["anchor_round"][5] == 5
    assert opened.paths[7] == "7.png"
    assert opened.nearest(np.array(opened.embeddings[9]), 1)[0].tolist() == [9]
    with pytest.raises(manifest.DamagedModel):
        OpenModel(folder)


def test_recent_values_are_of_the_newest_version_and_can_be_dropped() -> None:
    recent: Recent[list[int]] = Recent(2)
    first = recent.get("a", 1, lambda: [1])
    assert recent.get("a", 1, lambda: [2]) is first
    assert recent.get("a", 2, lambda: [2]) == [2]
    recent.get("b", 1, lambda: [3])
    recent.drop(lambda value: value == [2])
    assert recent.get("a", 2, lambda: [4]) == [4]
    assert recent.get("b", 1, lambda: [5]) == [3]


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
    assert (index.choose(20_000, 8), index.choose(5_000, 2048)) == ("flat", "hnsw")


def test_lists_are_built_on_a_gpu_where_faiss_finds_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What faiss-gpu adds to faiss is faked; the index itself is real."""

    class OnGpu:
        def __init__(self, on_cpu: Any) -> None:
            self.on_cpu, self.done = on_cpu, list[str]()

        def train(self, vectors: np.ndarray) -> None:
            self.on_cpu.train(vectors)
            self.done.append("trained")

        def add(self, vectors: np.ndarray) -> None:
            self.on_cpu.add(vectors)
            self.done.append("added")

    made: list[OnGpu] = []

    def to_gpu(resources: object, device: int, on_cpu: Any) -> OnGpu:
        assert (resources, device) == ("resources", 0)
        made.append(OnGpu(on_cpu))
        return made[0]

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: "resources", raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", to_gpu, raising=False)
    monkeypatch.setattr(faiss, "index_gpu_to_cpu", lambda on_gpu: on_gpu.on_cpu, raising=False)
    vectors = np.random.default_rng(0).normal(size=(3000, 12)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    built = index.build(vectors, tmp_path / "index.faiss", "ivf")
    assert made[0].done == ["trained", "added"]
    assert built.recall_at_10 >= 0.97
    assert index.search(index.load(tmp_path / "index.faiss"), vectors[8], 1)[0].tolist() == [8]


@pytest.mark.parametrize("count", [1, 5, 300])
@pytest.mark.parametrize("kind", index.KINDS)
def test_every_kind_holds_few_vectors_too(tmp_path: Path, kind: str, count: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(count, 12)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    built = index.build(vectors, tmp_path / "index.faiss", kind)
    assert (built.kind, built.recall_queries) == (kind, count) and built.recall_at_10 >= 0.97
    _, found = index.load(tmp_path / "index.faiss").search(vectors, 1)
    assert found[:, 0].tolist() == list(range(count))
