"""How many searches a second, beside an empty route, a bare search and a Chroma server, and how right their answers are."""

import sys
import time
from pathlib import Path
from statistics import median

import faiss
import httpx
import numpy as np

from benchmarks.results import Result
from benchmarks.server import Embedded, running
from benchmarks.service import chroma
from benchmarks.service.load import load
from benchmarks.service.size import Size
from core.search import index

K = 10
EXACT = 64  # candidates of an approximate search beside an exact one


def trained(system: Embedded, work: Path, size: Size) -> Path:
    """The folder of a model of the whole set, trained once."""
    for folder in (system.root / "models").glob("*"):
        return folder
    images = size.images(work)
    print(f"training on {images.name} for the vectors: {size.params}")
    with system.serve():
        known = (row["id"] for row in system.client.get("/datasets").json()["data"] if row["name"] == images.name)
        dataset = next(known, None) or system.upload(images)[0]
        job = system.client.post("/jobs", json={"dataset_id": dataset, "params": size.params}).raise_for_status().json()
        while not (row := system.client.get(f"/jobs/{job['id']}").json())["model_id"] and row["status"] != "failed":
            time.sleep(0.5)
        system.client.post(f"/jobs/{job['id']}/cancel")  # nobody reads how good the vectors are
        system.finished(job["id"])
    return next((system.root / "models").glob("*"))


def queries(system: Embedded, folder: Path, work: Path, size: Size, with_chroma: bool) -> Result:
    """Requests/s of ``GET /neighbours`` beside an empty route, a bare search and Chroma, in turns."""
    ids, vectors = np.load(folder / "ids.npy"), np.load(folder / "embeddings.npy")
    if (np.diff(np.sort(ids)) != 1).any():
        raise RuntimeError("the ids have gaps")
    asked = range(int(ids.min()), int(ids.max()) + 1)
    route, app = f"/neighbours?k={K}&image_id=", [sys.executable, "-m", "benchmarks.service.app", "--port"]
    first, rates = f"{route}{asked.start}", {name: list[Result]() for name in ("ours", "empty", "bare", "chroma")}
    ours, other = system.port, system.port + 1
    with running([*app, str(ours)], ours, first, system.env):
        found = [
            [entry["image_id"] for entry in httpx.get(f"http://127.0.0.1:{ours}{route}{id_}").json()["neighbours"]]
            for id_ in ids[: size.recall_queries].tolist()
        ]
    recall = shared(found, ids, vectors)
    searched = index.load(folder / "index.faiss")
    candidates = searched.hnsw.efSearch if isinstance(searched, faiss.IndexHNSW) else EXACT
    server = chroma.prepared(work, folder, candidates) if with_chroma else None
    for turn in range(size.turns):
        with running([*app, str(ours)], ours, first, system.env):
            load(ours, route, turn, 2, asked)
            rates["ours"].append(load(ours, route, turn, size.seconds, asked))
            rates["empty"].append(load(ours, "/empty", turn, size.seconds))
        with running([*app, str(other), "--bare", str(folder)], other, first):
            load(other, route, turn, 2, asked)
            rates["bare"].append(load(other, route, turn, size.seconds, asked))
        if server:
            with running(server.command(other), other, "/api/v2/heartbeat"):
                path = server.route(other)
                load(other, path, turn, 2, bodies=server.bodies)
                rates["chroma"].append(load(other, path, turn, size.seconds, bodies=server.bodies))
                if turn == 0:
                    chroma_recall = shared(server.answers(other, size.recall_queries), ids, vectors)
    usual = {name: median(r["per_second"] for r in results) for name, results in rates.items() if results}
    for name, results in rates.items():
        for result in results:
            print(f"{name:<8} {result['per_second']:8,.0f} requests/s, p50 {result['p50']:.2f} ms, p99 {result['p99']:.2f} ms")
    tail = median(result["p99"] / result["p50"] for result in rates["ours"])
    result = {"vectors": len(ids), "candidates": candidates, "recall_at_10": recall, "p99_over_p50": tail}
    result |= {"vs_empty_route": usual["ours"] / usual["empty"], "vs_bare_route": usual["ours"] / usual["bare"]}
    if server:
        print(f"recall@{K}: ours {recall:.3f}, Chroma {chroma_recall:.3f}")
        result |= {"vs_chroma": usual["ours"] / usual["chroma"], "chroma_recall_at_10": chroma_recall}
    return result


def processes(system: Embedded, folder: Path, work: Path, size: Size) -> Result:
    """Requests/s and latencies of ``GET /neighbours`` with one API process and with two, in turns, each request logged."""
    ids = np.load(folder / "ids.npy")
    route, asked = f"/neighbours?k={K}&image_id=", range(int(ids.min()), int(ids.max()) + 1)
    measured: dict[int, list[Result]] = {1: [], 2: []}
    for turn in range(size.turns):
        for count, results in measured.items():
            env = {**system.env, "ANCHORHOOD_API_PROCESSES": str(count)}
            with (
                open(work / "api.log", "wb") as log,
                running([sys.executable, "-m", "service.api"], system.port, f"{route}{asked.start}", env, log),
            ):
                load(system.port, route, turn, 2, asked)
                results.append(load(system.port, route, turn, size.seconds, asked))
    figures = {
        count: {name: median(one[name] for one in results) for name in ("per_second", "p50", "p99")}
        for count, results in measured.items()
    }
    for count, one in figures.items():
        rate, p50, p99 = one.values()
        print(f"{count} API process{'es' * (count > 1)}: {rate:,.0f} requests/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    one, two = figures[1], figures[2]
    return {f"{name}_of_two_processes": two[name] / one[name] for name in one}


def shared(found: list[list[int]], ids: np.ndarray, vectors: np.ndarray) -> float:
    """Recall@10 of answers to the first images against brute force, without the query itself."""
    _, exact = faiss.knn(vectors[: len(found)], vectors, K + 1, metric=faiss.METRIC_INNER_PRODUCT)
    wanted = [{int(ids[row]) for row in rows if row != query} for query, rows in enumerate(exact)]
    return float(np.mean([len(set(answer) & best) / K for answer, best in zip(found, wanted, strict=True)]))
