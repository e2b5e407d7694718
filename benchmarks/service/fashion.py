"""Searches a second at 95 and 99 % recall on one core, among the pixels of Fashion-MNIST: 60,000 vectors of 784 numbers, a set of
ann-benchmarks, here by cosine. Ours over HTTP and in process, beside faiss and hnswlib alone with the same graph."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.results import Result
from benchmarks.server import running
from benchmarks.service import synthetic
from benchmarks.service.load import load
from benchmarks.service.queries import K
from benchmarks.service.size import Size
from core.ground.folders import ModelFile
from core.search import index
from core.search.queries import Query
from core.search.searcher import Searcher
from core.settings import Settings
from core.store import migrate
from core.store.db import Database

Search = Callable[[int], list[int]]  # from a row to those of its nearest others
RECALLS = (0.95, 0.99)
CANDIDATES = (12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 384, 512)
_HNSWLIB = """
import json, sys, time, hnswlib, numpy
folder, path, k, *candidates = sys.argv[1:]
vectors, queries, k = numpy.load(folder + "/embeddings.npy"), numpy.load(folder + "/asked.npy"), int(k)
found = hnswlib.Index("ip", vectors.shape[1])
found.set_num_threads(1)
try:
    found.load_index(path)
except RuntimeError:
    found.init_index(len(vectors), M=32, ef_construction=200)
    found.add_items(vectors, num_threads=1)
    found.save_index(path)
for ef in map(int, candidates):
    found.set_ef(ef)
    started = time.perf_counter()
    rows = [found.knn_query(vectors[row], k + 1, num_threads=1)[0][0].tolist() for row in queries]
    print(json.dumps({"candidates": ef, "per_second": len(queries) / (time.perf_counter() - started), "rows": rows}))
"""


def fashion(work: Path, port: int, size: Size, peers: bool) -> Result:
    """Queries/s of each at each recall, and at how many candidates it reaches it."""
    settings = Settings(data_dir=work / "fashion")
    migrate.upgrade(settings.database)
    with Database(settings.database) as db:
        folder = next(settings.layout.models.glob("*"), None)
        if folder is None:
            synthetic.publish(db, settings, size.pixels(work), "fashion", "hnsw")
            folder = next(settings.layout.models.glob("*"))
        vectors, ids = np.load(folder / ModelFile.EMBEDDINGS), np.load(folder / ModelFile.IDS)
        asked = np.random.default_rng(0).permutation(len(vectors))[: size.recall_queries]
        _, exact = faiss.knn(vectors[asked], vectors, K + 1, metric=faiss.METRIC_INNER_PRODUCT)
        truth = [set(row.tolist()) - {query} for row, query in zip(exact, asked.tolist(), strict=True)]
        graph: Any = index.load(folder / ModelFile.INDEX)

        def bare(candidates: int) -> Search:
            graph.hnsw.efSearch = candidates
            return lambda row: graph.search(vectors[row : row + 1], K + 1)[1][0].tolist()

        def ours(candidates: int) -> Search:
            _set_candidates(folder, candidates)
            searcher = Searcher(settings, db)
            searcher.decoders.close()
            view, first = searcher.view(dataset_id="ds_fashion"), int(ids[0])
            return lambda row: [one.image_id - first for one in searcher.query(view, Query(positive=(first + row,), k=K))]

        with one_core():
            measured = {"faiss": measure(bare, asked), "in_process": measure(ours, asked)}
        if peers:
            measured["hnswlib"] = _hnswlib(work, folder, asked)
        result: Result = {}
        for recall in RECALLS:
            chosen = {
                name: next(one for one in found if _recall(one["rows"], truth) >= recall) for name, found in measured.items()
            }
            rates = {name: one["per_second"] for name, one in chosen.items()}
            _set_candidates(folder, chosen["in_process"]["candidates"])
            rates["http"] = _over_http(settings, port, ids, size)
            candidates = {name: one["candidates"] for name, one in chosen.items()}
            result[str(recall)] = {"per_second": rates, "candidates": candidates}
            words = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())
            print(f"Fashion-MNIST, recall@{K} {recall:.2f}, searches/s: {words}; candidates {candidates}")
    return {"fashion_mnist": result}


@contextmanager
def one_core() -> Iterator[None]:
    """The block, and what it starts, on the first core alone."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(every)})
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)


def _set_candidates(folder: Path, count: int) -> None:
    path = folder / ModelFile.INDEX
    graph: Any = faiss.read_index(str(path))
    graph.hnsw.efSearch = count
    faiss.write_index(graph, str(path))


def _recall(rows: list[list[int]], truth: list[set[int]]) -> float:
    return float(np.mean([len(wanted & set(found)) / K for found, wanted in zip(rows, truth, strict=True)]))


def measure(prepare: Callable[[int], Search], asked: np.ndarray) -> list[Result]:
    """Rows found for each row asked for, and searches/s, by the number of candidates."""
    found = []
    for candidates in CANDIDATES:
        search = prepare(candidates)
        rows = [search(row) for row in asked.tolist()]  # its pages are in memory then
        started = time.perf_counter()
        for row in asked.tolist():
            search(row)
        found.append({"candidates": candidates, "per_second": len(rows) / (time.perf_counter() - started), "rows": rows})
    return found


def _hnswlib(work: Path, folder: Path, asked: np.ndarray) -> list[Result]:
    installed = work / "hnswlib"
    if not (installed / "bin/python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(installed)], check=True)
        subprocess.run([str(installed / "bin/pip"), "install", "--quiet", "hnswlib", "numpy"], check=True)
    np.save(folder / "asked.npy", asked)
    command = [str(installed / "bin/python"), "-c", _HNSWLIB, str(folder), str(installed / f"{folder.name}.bin"), str(K)]
    with one_core():
        output = subprocess.run([*command, *map(str, CANDIDATES)], check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def _over_http(settings: Settings, port: int, ids: np.ndarray, size: Size) -> float:
    route, asked = f"/neighbours?k={K}&image_id=", range(int(ids[0]), int(ids[-1]) + 1)
    app = [sys.executable, "-m", "benchmarks.service.app", "--port", str(port)]
    with one_core(), running(app, port, f"{route}{asked.start}", {"ANCHORHOOD_DATA_DIR": str(settings.root)}):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))  # the load comes from another core
        load(port, route, 0, 2, asked)
        rate: float = load(port, route, 1, size.seconds, asked)["per_second"]
    return rate
