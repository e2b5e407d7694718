"""Adding and deleting, on SQLite and on PostgreSQL; searches beside the index against brute force."""

import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, insert, select, text

from core.collections import datasets, deletions
from core.collections.intake import end_failed, ingest
from core.errors import BadArchive, BadQuery, DatasetNotReady
from core.files import manifest, texts
from core.files.shards import read_range
from core.ground.folders import ModelFile
from core.jobs import lifecycle, protocol
from core.jobs.context import JobContext
from core.jobs.protocol import Claim
from core.search import index
from core.search.export import map_of
from core.search.open_models import OpenModel
from core.search.queries import Filter
from core.search.snapshots import Labels, Snapshot
from core.settings import Settings
from core.store.columns import now
from core.store.db import Database
from core.store.kinds import DatasetStatus, JobKind, JobStatus, Queue
from core.store.tables import Dataset, Embedding, Image, Label, Model, Rejection
from tests.conftest import image_bytes, write_zip
from tests.core.collections.test_datasets import ingested
from tests.core.jobs.asked import Asked
from worker.compact import compact
from worker.embed import embed
from worker.training.inputs import write_images


def zipped(tmp_path: Path, seeds: range, folder: str = "a") -> bytes:
    return write_zip(tmp_path / "made.zip", {f"{folder}/{seed}.png": image_bytes(seed) for seed in seeds}).read_bytes()


def adding(db: Database, settings: Settings, dataset_id: str, data: bytes) -> Claim:
    datasets.upload_path(settings, "up_1").write_bytes(data)
    with db.write() as session:
        datasets.add(session, dataset_id, {"upload": "up_1", "filename": "x.zip"})
    return claimed(db)


def claimed(db: Database) -> Claim:
    owner = protocol.claim(db, Queue.TASKS, "w")
    assert owner is not None
    return owner


def contents(db: Database, settings: Settings, dataset_id: str) -> dict[str, bytes]:
    with db.read() as session:
        images = session.scalars(select(Image).where(Image.dataset_id == dataset_id)).all()
    return {image.path: read_range(settings.root / image.shard, image.offset, image.length) for image in images}


def half_added(db: Database, settings: Settings, dataset_id: str, data: bytes) -> Claim:
    """An upload of which the first image is stored when its worker dies; its job is running."""
    owner = adding(db, settings, dataset_id, data)
    calls = iter([False] * 3)
    with pytest.raises(StopIteration):
        ingest(JobContext(db, settings, owner, Asked(lambda: next(calls))))
    with db.write() as session:
        home = f"datasets/{dataset_id}/{owner.job_id}-{owner.attempt}"
        row = {
            "dataset_id": dataset_id,
            "job_id": owner.job_id,
            "offset": 512,
            "length": 5,
            "media_type": "image/png",
            "width": 1,
            "height": 1,
        }
        session.execute(insert(Image), [{**row, "path": "half.png", "sha256": "0" * 64, "shard": f"{home}/shard-000000.tar"}])
        refused = {"dataset_id": dataset_id, "job_id": owner.job_id, "path": "half.txt", "code": "x", "reason": "y"}
        session.execute(insert(Rejection), [refused])
    return owner


def paths(db: Database) -> set[str]:
    with db.read() as session:
        return set(session.scalars(select(Image.path)))


def test_images_are_added_to_what_is_there(db: Database, settings: Settings, tmp_path: Path) -> None:
    dataset_id = ingested(db, settings, zipped(tmp_path, range(4)), "folders")
    ingest(JobContext(db, settings, adding(db, settings, dataset_id, zipped(tmp_path, range(2, 7), "b"))))
    with db.read() as session:
        dataset = datasets.get(session, dataset_id)
        assert (dataset.images, dataset.duplicates, dataset.classes, dataset.status) == (7, 2, 2, DatasetStatus.READY)
        lengths = select(func.sum(Image.length)).where(Image.dataset_id == dataset_id)
        assert dataset.bytes == session.scalar(lengths)
        assert session.scalar(select(func.count()).select_from(Label)) == 7
    assert len(contents(db, settings, dataset_id)) == 7
    with pytest.raises(BadArchive, match="no usable image"):
        ingest(JobContext(db, settings, adding(db, settings, dataset_id, zipped(tmp_path, range(0)))))


def test_another_image_of_a_known_path_is_refused(db: Database, settings: Settings, tmp_path: Path) -> None:
    dataset_id = ingested(db, settings, zipped(tmp_path, range(2)))
    ingested(db, settings, write_zip(tmp_path / "o.zip", {"a/9.png": image_bytes(9)}).read_bytes())  # of another dataset
    files = {"a/0.png": image_bytes(7), "a/9.png": image_bytes(9), "b/1.png": image_bytes(1)}
    data = write_zip(tmp_path / "more.zip", files).read_bytes()
    ingest(JobContext(db, settings, adding(db, settings, dataset_id, data)))
    with db.read() as session:
        refused = {row.path: (row.code, row.reason) for row in session.scalars(select(Rejection))}
    assert {path: code for path, (code, _) in refused.items()} == {"a/0.png": "repeated_path", "b/1.png": "duplicate"}
    assert refused["b/1.png"][1] == "same content as a/1.png"
    assert set(contents(db, settings, dataset_id)) == {"a/0.png", "a/1.png", "a/9.png"}


def test_a_tar_whose_first_name_looks_like_an_image_is_a_tar(db: Database, settings: Settings, tmp_path: Path) -> None:
    dataset_id = ingested(db, settings, zipped(tmp_path, range(1)))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("BMW/0.png")
        info.size = len(image_bytes(5))
        archive.addfile(info, io.BytesIO(image_bytes(5)))
    ingest(JobContext(db, settings, adding(db, settings, dataset_id, file.getvalue())))
    assert set(contents(db, settings, dataset_id)) == {"a/0.png", "BMW/0.png"}


def test_an_attempt_that_was_given_up_leaves_nothing(db: Database, settings: Settings, tmp_path: Path) -> None:
    dataset_id = ingested(db, settings, zipped(tmp_path, range(4)))
    before = contents(db, settings, dataset_id)
    protocol.release(db, half_added(db, settings, dataset_id, zipped(tmp_path, range(4, 9))))
    end_failed(JobContext(db, settings, claimed(db)), JobStatus.FAILED, {"code": "x", "message": "y"})
    assert contents(db, settings, dataset_id) == before
    with db.read() as session:
        assert session.scalars(select(Rejection.path)).all() == ["half.txt"]  # why it failed
        assert datasets.get(session, dataset_id).status == DatasetStatus.READY
        assert datasets.get(session, dataset_id).images == 4
    assert not datasets.upload_path(settings, "up_1").exists()


def test_training_reads_nothing_of_an_upload_that_goes_on(db: Database, settings: Settings, tmp_path: Path) -> None:
    dataset_id = ingested(db, settings, zipped(tmp_path, range(4)))
    with db.write() as session:
        lifecycle.create(session, JobKind.TRAIN, dataset_id)
    owner = half_added(db, settings, dataset_id, zipped(tmp_path, range(4, 9)))
    training = protocol.claim(db, Queue.TRAINING, "w")
    assert training is not None
    write_images(JobContext(db, settings, training), dataset_id, tmp_path / "images.jsonl")
    end_failed(JobContext(db, settings, owner), JobStatus.CANCELLED, None)
    listed = [json.loads(line) for line in (tmp_path / "images.jsonl").read_text().splitlines()]
    assert len(listed) == 4
    for entry in listed:
        assert read_range(tmp_path / entry["file"], entry["offset"], entry["length"]).startswith(b"\x89PNG")


@pytest.mark.parametrize("end", ["cancelled", "lost", "embed"])
def test_what_an_upload_left_that_ended_without_an_owner_is_taken_back(
    db: Database, settings: Settings, tmp_path: Path, end: str
) -> None:
    dataset_id = ingested(db, settings, zipped(tmp_path, range(4)))
    owner = half_added(db, settings, dataset_id, zipped(tmp_path, range(4, 9)))
    protocol.abandon(db, owner, "killed")
    with db.write() as session:
        if end == "embed":
            lifecycle.create(session, JobKind.EMBED, dataset_id)
    if end == "lost":
        for _ in range(2):
            protocol.abandon(db, claimed(db), "killed")
    else:
        with db.write() as session:
            lifecycle.request_cancel(session, owner.job_id)
    assert "half.png" in paths(db)
    next_ = claimed(db)
    if end == "embed":
        assert next_.kind == JobKind.EMBED
        embed(JobContext(db, settings, next_))
    else:
        compact(JobContext(db, settings, next_))
    assert paths(db) == {f"a/{number}.png" for number in range(4)}
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Rejection)) == 0
        assert datasets.get(session, dataset_id).images == 4
    assert not list((settings.root / "datasets" / dataset_id).glob(f"{owner.job_id}-*"))


def test_an_image_of_an_upload_that_goes_on_cannot_be_deleted(db: Database, settings: Settings, tmp_path: Path) -> None:
    dataset_id = ingested(db, settings, zipped(tmp_path, range(4)))
    half_added(db, settings, dataset_id, zipped(tmp_path, range(4, 9)))
    with db.read() as session:
        ids = {image.path: image.id for image in session.scalars(select(Image))}
        before = datasets.get(session, dataset_id)
    with pytest.raises(DatasetNotReady, match="still being validated"):
        deletions.delete_images(db, dataset_id, [ids["a/0.png"], ids["half.png"]])
    with db.read() as session:
        after = datasets.get(session, dataset_id)
    assert (after.images, after.bytes, after.generation) == (before.images, before.bytes, before.generation)
    assert paths(db) == set(ids)


def test_of_two_deletions_at_once_one_is_told_that_it_came_too_late(db: Database, settings: Settings, tmp_path: Path) -> None:
    dataset_id = ingested(db, settings, zipped(tmp_path, range(12)))
    with db.read() as session:
        ids = session.scalars(select(Image.id)).all()

    def outcome(_: int) -> str:
        try:
            return str(deletions.delete_images(db, dataset_id, ids[:10]))
        except BadQuery:
            return "refused"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(outcome, range(4))) == ["10", "refused", "refused", "refused"]
    with db.read() as session:
        assert datasets.get(session, dataset_id).images == len(paths(db)) == 2


def test_a_deletion_does_not_wait_for_an_embedding_that_waits_for_it(db: Database, settings: Settings, tmp_path: Path) -> None:
    dataset_id = ingested(db, settings, zipped(tmp_path, range(3)))
    if db.url.get_backend_name() == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    with db.read() as session:
        ids = session.scalars(select(Image.id)).all()

    def blocked() -> bool:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        with db.read() as fresh:
            return bool(fresh.scalar(text(waiting)))

    with ThreadPoolExecutor(1) as pool, db.write() as session:
        session.execute(select(Dataset.id).where(Dataset.id == dataset_id).with_for_update())
        deleting = pool.submit(deletions.delete_images, db, dataset_id, ids)
        while not blocked():
            assert not deleting.done()
        assert len(session.scalars(select(Image.id).where(Image.id.in_(ids)).with_for_update(read=True)).all()) == 3
        session.commit()
        assert deleting.result() == 3


COUNT, DIM = 400, 8


def make_model(db: Database, settings: Settings, vectors: np.ndarray) -> tuple[OpenModel, np.ndarray]:
    """A dataset ``ds_1`` with a model ``mdl_1`` of the first rows, and the rest embedded later; labels on every third."""
    paths = [f"{'ab'[row % 2]}/{row}.png" for row in range(len(vectors))]
    folder = settings.layout.models / "job_1-1"
    folder.mkdir()
    with db.write() as session:
        session.add(Dataset(id="ds_1", name="n", status=DatasetStatus.READY, labels="none", images=len(paths), created_at=now()))
        session.flush()
        job = lifecycle.create(session, JobKind.TRAIN, "ds_1").id
        session.add(
            Model(
                id="mdl_1",
                dataset_id="ds_1",
                job_id=job,
                attempt=1,
                directory=folder.name,
                images=COUNT,
                dim=DIM,
                created_at=now(),
            )
        )
        row = {
            "dataset_id": "ds_1",
            "job_id": job,
            "shard": "datasets/s",
            "offset": 0,
            "length": 1,
            "media_type": "image/png",
            "width": 1,
            "height": 1,
        }
        made = insert(Image).returning(Image.id, sort_by_parameter_order=True)
        rows = [{**row, "path": path, "sha256": f"{number:064x}"} for number, path in enumerate(paths)]
        ids = np.array(session.scalars(made, rows).all())
        later = [(int(id_), vector.tobytes()) for id_, vector in zip(ids[COUNT:], vectors[COUNT:], strict=True)]
        session.execute(insert(Embedding), [{"model_id": "mdl_1", "image_id": id_, "vector": data} for id_, data in later])
        session.execute(insert(Label), [{"image_id": int(id_), "label": f"class-{id_ % 2}"} for id_ in ids[::3]])
    np.save(folder / "embeddings.npy", vectors[:COUNT])
    np.save(folder / "ids.npy", ids[:COUNT])
    texts.write(folder / ModelFile.PATHS, paths[:COUNT])
    entropy = np.linspace(0, 1, COUNT, dtype=np.float32)[None]
    anchor_round, neighbours = np.arange(COUNT) % 3 - 1, np.full((COUNT, 1), -1)
    np.savez(folder / "neighbourhoods.npz", entropy=entropy, anchor_round=anchor_round, neighbours=neighbours)
    np.save(folder / "projection.npy", vectors[:COUNT, :2])
    (folder / "encoder.onnx").write_bytes(b"of no concern here")
    index.build(vectors[:COUNT], folder / "index.faiss")
    manifest.write(folder, {})
    return OpenModel(folder), ids


def test_searches_beside_the_index_find_what_brute_force_finds(db: Database, settings: Settings) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(COUNT + 50, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    model, ids = make_model(db, settings, vectors)
    gone = rng.permutation(len(ids))[:120]
    gone = np.union1d(gone, np.argsort(-(vectors @ vectors[0]))[:30])  # all of the nearest to one query
    deletions.delete_images(db, "ds_1", ids[gone].tolist())
    with db.read() as session:
        seen = Snapshot(session, model, "mdl_1", "ds_1", Labels.read(session, "ds_1"))
    alive = np.setdiff1d(np.arange(len(ids)), gone)
    assert set(seen.ids[seen.live].tolist()) == set(ids[alive].tolist())
    number = {int(id_): row for row, id_ in enumerate(ids)}
    cases = {
        Filter(): alive,
        Filter(labels=("class-1",)): alive[(alive % 3 == 0) & (ids[alive] % 2 == 1)],
        Filter(labels=("class-1",), unlabelled=True): alive[(alive % 3 != 0) | (ids[alive] % 2 == 1)],
        Filter(path_prefix="b/"): alive[alive % 2 == 1],
        Filter(anchor_round=1): alive[(alive < COUNT) & (alive % 3 == 2)],
        Filter(min_entropy=0.5, path_prefix="a/4"): np.array(
            [row for row in alive if COUNT / 2 <= row < COUNT and row % 2 == 0 and str(row)[0] == "4"], int
        ),
    }
    for only, expected in cases.items():
        for query in (vectors[0], vectors[gone[5]], vectors[-1]):
            rows, scores = seen.nearest(query, 10, seen.passing(only))
            best = expected[np.argsort(-(vectors[expected] @ query), kind="stable")[:10]]
            assert [number[id_] for id_ in seen.ids[rows].tolist()] == best.tolist(), only
            np.testing.assert_allclose(scores, vectors[best] @ query, atol=1e-5)
    for row in range(len(ids)):
        found = seen.row(int(ids[row]))
        assert (found is None) == (row in gone)
        if found is not None:
            path, label = seen.describe(found)
            assert path == f"{'ab'[row % 2]}/{row}.png" and label == (f"class-{ids[row] % 2}" if row % 3 == 0 else None)
            np.testing.assert_array_equal(seen.vectors(np.array([found]))[0], vectors[row])


def test_the_map_has_what_is_alive_in_the_order_of_ids(db: Database, settings: Settings) -> None:
    vectors = np.random.default_rng(0).normal(size=(COUNT + 5, DIM)).astype(np.float32)
    model, ids = make_model(db, settings, vectors)
    gone = np.arange(0, COUNT, 7)
    deletions.delete_images(db, "ds_1", ids[gone].tolist())
    with db.read() as session:
        drawn = map_of(Snapshot(session, model, "mdl_1", "ds_1", Labels.read(session, "ds_1")))
    rows = np.setdiff1d(np.arange(COUNT), gone)  # what was added later has no place
    rows = rows[np.argsort(ids[rows])]
    assert drawn["ids"] == ids[rows].tolist()
    np.testing.assert_allclose(np.stack([drawn["x"], drawn["y"]], axis=1), vectors[rows, :2], atol=1e-4)
    labels = [drawn["names"][label] if label >= 0 else None for label in drawn["labels"]]
    assert labels == [f"class-{ids[row] % 2}" if row % 3 == 0 else None for row in rows]
    np.testing.assert_allclose(drawn["entropy"], np.linspace(0, 1, COUNT)[None, rows], atol=1e-4)
    assert drawn["anchor_round"] == [max(row % 3 - 1, 0) for row in rows]
