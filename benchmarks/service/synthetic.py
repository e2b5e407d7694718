"""A dataset with a published model of made-up vectors, without images behind them: for what depends on N alone."""

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert

from core.collections import datasets
from core.files import artifacts, manifest, texts
from core.ground.folders import ModelFile
from core.jobs import lifecycle
from core.search import index
from core.settings import Settings
from core.store.columns import now
from core.store.db import BATCH, Database
from core.store.kinds import DatasetStatus, JobKind
from core.store.tables import Dataset, Image, Model


def clustered(count: int, dim: int = 128, clusters: int = 1000, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors around centres, (count, dim): real embeddings lie in clusters, which uniform ones do not."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, dim)).astype(np.float32)
    vectors = centres[rng.integers(0, clusters, count)] + 0.5 * rng.normal(size=(count, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors, np.float32)


def publish(
    db: Database, settings: Settings, vectors: NDArray[np.float32], name: str, kind: str = "auto"
) -> tuple[str, index.IndexInfo]:
    """Publish vectors as the current model of a dataset of their own; returns the dataset's id and its index."""
    dataset_id, count = f"ds_{name}", len(vectors)
    with db.write() as session:
        session.add(Dataset(id=dataset_id, name=name, status=DatasetStatus.READY, labels="none", images=count, created_at=now()))
        session.flush()
        job = lifecycle.create(session, JobKind.TRAIN, dataset_id).id
    row = {"dataset_id": dataset_id, "job_id": job, "shard": "none", "offset": 0, "length": 1}
    row |= {"media_type": "image/png", "width": 1, "height": 1}
    paths = [f"synthetic/{number:07}.png" for number in range(count)]
    ids: list[int] = []
    for start in range(0, count, BATCH):
        rows = [{**row, "path": path, "sha256": f"{start + at:064x}"} for at, path in enumerate(paths[start : start + BATCH])]
        with db.write() as session:
            ids += session.scalars(insert(Image).returning(Image.id, sort_by_parameter_order=True), rows).all()
    staged = artifacts.fresh_folder(settings.layout.runs / job)
    np.save(staged / "embeddings.npy", vectors)
    np.save(staged / "ids.npy", np.array(ids, np.int64))
    texts.write(staged / ModelFile.PATHS, paths)
    nobody = np.full(count, -1)
    entropy = np.zeros((1, count), np.float32)
    np.savez(staged / "neighbourhoods.npz", entropy=entropy, anchor_round=nobody, neighbours=nobody[:, None])
    np.save(staged / "projection.npy", np.zeros((count, 2), np.float32))
    (staged / "encoder.onnx").touch()  # nothing is encoded
    built = index.build(vectors, staged / "index.faiss", kind)
    manifest.write(staged, {})
    artifacts.publish(staged, settings.layout.models / f"{job}-1")
    with db.write() as session:
        model_id = f"mdl_{name}"
        figures = {"attempt": 1, "directory": f"{job}-1", "images": count, "dim": vectors.shape[1], "created_at": now()}
        session.add(Model(id=model_id, dataset_id=dataset_id, job_id=job, **figures))
        session.flush()
        datasets.update_and_invalidate(session, dataset_id, model_id=model_id)
    return dataset_id, built
