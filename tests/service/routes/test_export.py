"""The NPZ export reads as NumPy's own files do, and takes no memory of its own; no cell of a CSV is a formula."""

import csv
import io
import tracemalloc
from pathlib import Path

import numpy as np
from sqlalchemy import update

from anchorhood import Client
from core.files import manifest, texts
from core.ground.folders import ModelFile
from core.jobs import lifecycle
from core.jobs.context import JobContext
from core.search import index
from core.search.export import write_npz
from core.search.open_models import OpenModel
from core.search.snapshots import Labels, Snapshot
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobKind
from core.store.tables import Label
from tests.core.collections.embedded import make_embedded
from tests.core.collections.test_changes import claimed
from tests.service.serving import serving
from worker.classify import classify

COUNT, DIM = 30_000, 8


def test_one_long_path_costs_neither_memory_nor_disk(db: Database, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    vectors = np.random.default_rng(0).normal(size=(COUNT, DIM)).astype(np.float32)
    ids = np.random.default_rng(1).permutation(COUNT).astype(np.int64)
    paths = [f"{number}-é\U0001f33f.png" for number in range(COUNT)]
    paths[7] = "x" * 1024
    np.save(folder / "embeddings.npy", vectors)
    np.save(folder / "ids.npy", ids)
    texts.write(folder / ModelFile.PATHS, paths)
    index.build(vectors, folder / "index.faiss", "flat")
    for name in ("encoder.onnx", "neighbourhoods.npz", "projection.npy"):
        (folder / name).touch()
    manifest.write(folder, {})
    with db.read() as session:
        seen = Snapshot(session, OpenModel(folder), "mdl_1", "ds_1", Labels.read(session, "ds_1"))
    tracemalloc.start()
    with open(tmp_path / "all.npz", "wb") as file:
        write_npz(seen, file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20  # 120 MB as one array
    assert (tmp_path / "all.npz").stat().st_size < 8 << 20
    order = np.argsort(ids)
    with np.load(tmp_path / "all.npz", allow_pickle=False) as stored:
        assert (stored["ids"] == ids[order]).all()
        assert (stored["embeddings"] == vectors[order]).all()
        assert stored["embeddings"].dtype == np.float32
        assert stored["paths"].tolist() == [paths[row] for row in order]
        assert stored["labels"].tolist() == [""] * COUNT


def test_no_cell_of_a_table_is_a_formula(db: Database, settings: Settings) -> None:
    make_embedded(db, settings)
    with db.write() as session:
        session.execute(update(Label).values(label="=" + Label.label))
        params = {"model_id": "mdl_1", "k": 5, "temperature": 0.1, "min_confidence": 0.0}
        job = lifecycle.create(session, JobKind.CLASSIFY, "ds_1", params=params).id
    classify(JobContext(db, settings, claimed(db)))
    with serving(settings, db) as client:
        exported = client.get("/models/mdl_1/embeddings?format=csv").text
        table = client.get(f"/jobs/{job}/classifications").text
        with Client(str(client.base_url)) as ours:
            rows = ours.jobs.classifications(job)
    for name, text in (("label", exported), ("label", table), ("predicted", table)):
        cells = {row[name] for row in csv.DictReader(io.StringIO(text))} - {""}
        assert cells == {"'=class-0", "'=class-1"}, name
    assert {row["label"] for row in rows} == {"", "=class-0", "=class-1"}, "the client takes the apostrophe off"
    assert {row["predicted"] for row in rows} == {"=class-0", "=class-1"}
