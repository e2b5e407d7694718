"""The order of answers where many images are equally similar, or nearly so, against brute force in float64."""

import faiss
import numpy as np
import pytest

from core.collections import deletions
from core.files import manifest, texts
from core.ground.folders import ModelFile
from core.search import index
from core.search.open_models import OpenModel
from core.search.queries import Filter
from core.search.ranking import best, compare, rounding_error
from core.search.snapshots import Labels, Snapshot
from core.settings import Settings
from core.store.db import Database
from tests.core.collections.test_changes import COUNT, DIM, make_model

SIZE, LONG = 3000, 24


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def with_equal_ones(size: int, dim: int) -> np.ndarray:
    """Every fourth row is one vector, every fourth another within a rounding of it, the rest lie anywhere."""
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(size, dim)))
    vectors[::4] = vectors[0]
    vectors[1::4] = np.nextafter(vectors[0], np.float32(1))
    return np.asarray(vectors, np.float32)


def truth(vectors: np.ndarray, query: np.ndarray, rows: np.ndarray) -> list[int]:
    scores = np.array([np.float32((vectors[row].astype(np.float64) * query.astype(np.float64)).sum()) for row in rows])
    found: list[int] = rows[np.lexsort((rows, -scores))].tolist()
    return found


@pytest.fixture(scope="module", params=index.KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenModel:
    folder = tmp_path_factory.mktemp("model")
    vectors = with_equal_ones(SIZE, LONG)
    np.save(folder / "embeddings.npy", vectors)
    np.save(folder / "ids.npy", np.arange(SIZE) + 1)
    index.build(vectors, folder / "index.faiss", request.param)
    texts.write(folder / ModelFile.PATHS, (f"{row}.png" for row in range(SIZE)))
    np.savez(folder / "neighbourhoods.npz", anchor_round=np.arange(SIZE))
    np.save(folder / "projection.npy", np.zeros((SIZE, 2), np.float32))
    (folder / "encoder.onnx").touch()
    manifest.write(folder, {})
    return OpenModel(folder)


@pytest.mark.parametrize("page", [10, 37, 1000])
@pytest.mark.parametrize("query", [0, 1, 2])
def test_pages_hold_every_row_once_through_every_kind_of_index(model: OpenModel, query: int, page: int) -> None:
    vector, own = np.array(model.embeddings[query]), np.array([query])
    pages = [model.nearest(vector, page, skip=at, without=own)[0].tolist() for at in range(0, SIZE, page)]
    listed = [row for rows in pages for row in rows]
    everything = np.delete(np.arange(SIZE), query)
    assert sorted(listed) == everything.tolist()
    if isinstance(model.index, faiss.IndexFlat):
        assert listed == truth(model.embeddings, vector, everything)


def test_a_row_has_one_similarity_whatever_is_asked_for(model: OpenModel) -> None:
    vector = np.array(model.embeddings[0])
    known = dict(zip(*(found.tolist() for found in model.nearest(vector, SIZE)), strict=True))
    odd = np.arange(1, SIZE, 2)
    for count, allowed, skip in ((7, None, 0), (64, None, 5), (900, None, 700), (50, odd, 3), (1, np.array([4]), 0)):
        rows, scores = model.nearest(vector, count, allowed, skip)
        assert [known[row] for row in rows.tolist()] == scores.tolist()
        assert (np.diff(scores) <= 0).all()
    assert len({known[row] for row in range(0, SIZE, 4)}) == 1


def test_filtered_pages_are_in_order(model: OpenModel) -> None:
    vector = np.array(model.embeddings[0])
    for allowed in (np.arange(0, SIZE, 4), np.arange(1, SIZE, 3), np.arange(10, 1200)):
        pages = [model.nearest(vector, 13, allowed, skip=at)[0].tolist() for at in range(0, len(allowed), 13)]
        assert [row for rows in pages for row in rows] == truth(model.embeddings, vector, allowed)


def test_added_and_deleted_images_take_their_places_among_equal_ones(db: Database, settings: Settings) -> None:
    vectors = with_equal_ones(COUNT + 60, DIM)
    opened, ids = make_model(db, settings, vectors)
    gone = np.arange(3, len(ids), 7)
    deletions.delete_images(db, "ds_1", ids[gone[gone < COUNT]].tolist())
    deletions.delete_images(db, "ds_1", ids[gone[gone >= COUNT]].tolist())
    with db.read() as session:
        seen = Snapshot(session, opened, "mdl_1", "ds_1", Labels.read(session, "ds_1"))
    alive = np.setdiff1d(np.arange(len(ids)), gone)
    number = {int(id_): row for row, id_ in enumerate(ids)}
    cases = {
        Filter(): alive,
        Filter(path_prefix="b/"): alive[alive % 2 == 1],
        Filter(labels=("class-0", "class-1")): alive[alive % 3 == 0],
    }
    for only, expected in cases.items():
        for query in (0, 2, COUNT + 4):
            vector = vectors[query]
            found = [seen.nearest(vector, 10, seen.passing(only), skip=at)[0] for at in range(0, len(expected), 10)]
            assert [number[id_] for rows in found for id_ in seen.ids[rows].tolist()] == truth(vectors, vector, expected), only


def test_the_best_are_chosen_by_their_own_similarity_not_by_the_proposed_one() -> None:
    vectors = with_equal_ones(500, 100)
    query, rows = vectors[0], np.arange(500)
    near = rounding_error(100)
    proposed = compare(vectors, query) + np.random.default_rng(0).uniform(-0.49, 0.49, 500).astype(np.float32) * near
    for count in (0, 1, 10, 125, 126, 499, 500):
        found, scores = best(rows, proposed, count, near, lambda some: compare(vectors[some], query))
        assert found.tolist() == truth(vectors, query, rows)[:count]
        assert scores.tolist() == compare(vectors[found], query).tolist()


@pytest.mark.parametrize("dim", [1, 7, 128, 1000])
def test_a_similarity_depends_on_its_row_alone_and_blocked_products_stay_near_it(dim: int) -> None:
    vectors = unit(np.random.default_rng(1).normal(size=(5000, dim)))
    query = vectors[17]
    together = compare(vectors, query)
    for start in (0, 1, 17, 4095, 4096, 4999):
        assert compare(vectors[start : start + 1], query)[0] == together[start]
        assert (compare(vectors[start : start + 90], query) == together[start : start + 90]).all()
    assert np.abs(vectors @ query - together).max() < rounding_error(dim) / 2
    assert np.abs((vectors @ vectors[:40].T)[:, 17] - together).max() < rounding_error(dim) / 2
