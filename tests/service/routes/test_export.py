"""The NPZ export reads as NumPy's own files do, and takes no memory of its own."""

import tracemalloc
from pathlib import Path

import numpy as np

from core.files import manifest, texts
from core.ground.folders import ModelFile
from core.search import index
from core.search.export import write_npz
from core.search.open_models import OpenModel
from core.search.snapshots import Labels, Snapshot
from core.store.db import Database

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
