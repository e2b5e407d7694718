"""What the retrieval service does under load, against an empty route, a bare search and a Chroma server.

``make bench-service`` runs a real server in a process of its own and asks it from another one (wrk), for random images, without
any cache of answers, in turns within one run; it prints a table and, last, one JSON object. Everything is kept in ``--work``,
so that a second run measures without preparing anew.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import httpx
import numpy as np

from benchmarks.service import chroma, synthetic
from core.search.queries import Query
from core.search.searcher import Searcher
from core.settings import Settings
from core.store import migrate
from core.store.db import Database

DATA = Path(__file__).parents[3] / "shared/data/cifar10-train.zip"
PARAMS = {"preset": "quick", "rounds": 1, "epochs_first": 2, "epochs": 1}
CONNECTIONS, SECONDS, TURNS, K = 8, 8, 5, 10
RECALL_QUERIES = 300
GROWTH = (10_000, 100_000, 1_000_000)
FLAT_BYTES = 2 << 30
Result = dict[str, Any]

_LUA = """
local bodies = {}
if os.getenv("BODIES") then for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end end
math.randomseed(tonumber(os.getenv("SEED")))
local route, first, count = os.getenv("ROUTE"), tonumber(os.getenv("FIRST")), tonumber(os.getenv("COUNT"))
request = function()
  if #bodies > 0 then
    return wrk.format("POST", route, {["Content-Type"] = "application/json"}, bodies[math.random(#bodies)])
  end
  return wrk.format("GET", count and route .. (first + math.random(count) - 1) or route)
end
done = function(summary, latency)
  local errors = summary.errors
  print(string.format('{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}', summary.requests,
    summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
"""


def load(port: int, route: str, seed: int, seconds: float, ids: range | None = None, bodies: Path | None = None) -> Result:
    """Ask one route over some connections as fast as it answers: requests/s, and latencies in ms."""
    if shutil.which("wrk") is None:
        subprocess.run(["apt-get", "install", "--yes", "--quiet", "wrk"], check=True, stdout=subprocess.DEVNULL)
    env = {**os.environ, "ROUTE": route, "SEED": str(seed)}
    env |= {"FIRST": str(ids.start), "COUNT": str(len(ids))} if ids else {}
    env |= {"BODIES": str(bodies)} if bodies else {}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_LUA)
        script.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", script.name, f"http://127.0.0.1:{port}"]
        output = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    result: Result = json.loads(output.strip().splitlines()[-1])
    if result["errors"]:
        raise RuntimeError(f"{route}: {result['errors']} of {result['requests']} requests failed")
    return {**result, "per_second": result["requests"] / result["seconds"]}


@contextmanager
def running(command: list[str], port: int, path: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server, from its first answer on."""
    process = subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                if httpx.get(f"http://127.0.0.1:{port}{path}").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
            time.sleep(0.1)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


class Embedded:
    """``anchorhood serve`` on the benchmark's data folder."""

    def __init__(self, work: Path, port: int) -> None:
        self.root, self.port = work / "data", port
        self.env = {"ANCHORHOOD_DATA_DIR": str(self.root), "ANCHORHOOD_PORT": str(port)}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600)

    def serve(self) -> Any:
        return running([sys.executable, "-m", "service.commands.main", "serve"], self.port, "/healthz", **self.env)

    def upload(self, path: Path, labels: str = "folders") -> tuple[str, Result]:
        """Upload and validate an archive; its dataset and job."""
        with open(path, "rb") as file:
            response = self.client.post("/datasets", files={"file": (path.name, file)}, data={"labels": labels})
        dataset = response.raise_for_status().json()["id"]
        jobs = self.client.get("/jobs?kind=ingest&limit=1000").json()["data"]
        return dataset, self.finished(next(job["id"] for job in jobs if job["dataset_id"] == dataset))

    def finished(self, job: str) -> Result:
        while True:
            body: Result = self.client.get(f"/jobs/{job}").json()
            if body["status"] in ("succeeded", "failed", "cancelled"):
                if body["status"] != "succeeded":
                    raise RuntimeError(f"{job}: {body['error']}")
                return body
            time.sleep(0.2)

    def peaks(self, reset: bool = False) -> dict[str, float]:
        """The most memory each of its processes has held, MiB, by name; ``reset`` begins anew."""
        found: dict[str, float] = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_bytes().split(b"\0")
                if f"ANCHORHOOD_DATA_DIR={self.root}".encode() not in environment:
                    continue
                if reset:
                    (process / "clear_refs").write_text("5")
                status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
                name = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
                found[f"{process.name} {name}"] = int(status["VmHWM"].split()[0]) / 1024
            except (OSError, KeyError):
                continue
        return found


def seconds_of(job: Result) -> float:
    from datetime import datetime

    started, finished = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    return (finished - started).total_seconds()


def photographs(path: Path, size: int) -> Path:
    """A zip of large distinct pictures of random pixels, about ``size`` bytes."""
    rng, side = np.random.default_rng(0), 1024
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(size // (3 * side * side)):
            archive.writestr(f"{number}.ppm", b"P6 %d %d 255\n" % (side, side) + rng.bytes(3 * side * side))
    return path


def ingest(system: Embedded, work: Path) -> Result:
    """Validation's images/s, and the memory it takes for an archive of 2 GiB beside one of 64 MiB."""
    peaks = []
    with system.serve():
        _, job = system.upload(DATA)
        rate = job["progress"]["images"] / seconds_of(job)
        for size in (64 << 20, FLAT_BYTES):
            archive = photographs(work / "photographs.zip", size)
            system.peaks(reset=True)
            dataset, _ = system.upload(archive)
            peaks.append(max(system.peaks().values()))
            system.client.delete(f"/datasets/{dataset}").raise_for_status()
            archive.unlink()
    print(f"ingest of {DATA.name}: {rate:,.0f} images/s; largest process {peaks[0]:.0f} MiB at 64 MiB, {peaks[1]:.0f} at 2 GiB")
    return {"ingest_images_per_s": rate, "ingest_peak_mib": peaks[1], "ingest_peak_mib_small_archive": peaks[0]}


def trained(system: Embedded) -> Path:
    """The folder of a model of the whole set, trained once."""
    for folder in (system.root / "models").glob("*"):
        return folder
    print(f"training on {DATA.name} for the vectors: {PARAMS}")
    with system.serve():
        known = (row["id"] for row in system.client.get("/datasets").json()["data"] if row["images"] > 10_000)
        dataset = next(known, None) or system.upload(DATA)[0]
        job = system.client.post("/jobs", json={"dataset_id": dataset, "params": PARAMS}).raise_for_status().json()
        system.finished(job["id"])
    return next((system.root / "models").glob("*"))


def queries(system: Embedded, folder: Path, work: Path, with_chroma: bool) -> Result:
    """Requests/s of ``GET /neighbours`` beside an empty route, a bare search and Chroma, in turns."""
    ids, vectors = np.load(folder / "ids.npy"), np.load(folder / "embeddings.npy")
    if (np.diff(np.sort(ids)) != 1).any():
        raise RuntimeError("the ids have gaps")
    asked = range(int(ids.min()), int(ids.max()) + 1)
    route, app = f"/neighbours?k={K}&image_id=", [sys.executable, "-m", "benchmarks.service.app", "--port"]
    first, rates = f"{route}{asked.start}", {name: list[Result]() for name in ("ours", "empty", "bare", "chroma")}
    ours, other = system.port, system.port + 1
    with running([*app, str(ours)], ours, first, **system.env):
        found = [
            [entry["image_id"] for entry in httpx.get(f"http://127.0.0.1:{ours}{route}{id_}").json()["neighbours"]]
            for id_ in ids[:RECALL_QUERIES].tolist()
        ]
    recall = shared(found, ids, vectors)
    server = chroma.prepared(work, folder) if with_chroma else None
    for turn in range(TURNS):
        with running([*app, str(ours)], ours, first, **system.env):
            load(ours, route, turn, 2, asked)
            rates["ours"].append(load(ours, route, turn, SECONDS, asked))
            rates["empty"].append(load(ours, "/empty", turn, SECONDS))
        with running([*app, str(other), "--bare", str(folder)], other, first):
            load(other, route, turn, 2, asked)
            rates["bare"].append(load(other, route, turn, SECONDS, asked))
        if server:
            with running(server.command(other), other, "/api/v2/heartbeat"):
                path = server.route(other)
                load(other, path, turn, 2, bodies=server.bodies)
                rates["chroma"].append(load(other, path, turn, SECONDS, bodies=server.bodies))
                if turn == 0:
                    chroma_recall = shared(server.answers(other, RECALL_QUERIES), ids, vectors)
    usual = {name: median(r["per_second"] for r in results) for name, results in rates.items() if results}
    for name, results in rates.items():
        for result in results:
            print(f"{name:<8} {result['per_second']:8,.0f} requests/s, p50 {result['p50']:.2f} ms, p99 {result['p99']:.2f} ms")
    tail = median(result["p99"] / result["p50"] for result in rates["ours"])
    result = {"vectors": len(ids), "recall_at_10": recall, "p99_over_p50": tail}
    result |= {"vs_empty_route": usual["ours"] / usual["empty"], "vs_bare_route": usual["ours"] / usual["bare"]}
    if server:
        print(f"recall@{K}: ours {recall:.3f}, Chroma {chroma_recall:.3f}")
        result |= {"vs_chroma": usual["ours"] / usual["chroma"], "chroma_recall_at_10": chroma_recall}
    return result


def shared(found: list[list[int]], ids: np.ndarray, vectors: np.ndarray) -> float:
    """Recall@10 of answers to the first images against brute force, without the query itself."""
    _, exact = faiss.knn(vectors[: len(found)], vectors, K + 1, metric=faiss.METRIC_INNER_PRODUCT)
    wanted = [{int(ids[row]) for row in rows if row != query} for query, rows in enumerate(exact)]
    return float(np.mean([len(set(answer) & best) / K for answer, best in zip(found, wanted, strict=True)]))


def growth(work: Path) -> Result:
    """Build, opening, query and memory at several sizes, each in a process of its own."""
    rows = []
    print("   vectors  index  recall  build s  file MiB  open ms  query us  memory MiB")
    for count in GROWTH:
        output = subprocess.run(
            [sys.executable, "-m", "benchmarks.service", "--grown", str(count), "--work", str(work)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        row = json.loads(output.splitlines()[-1])
        rows.append(row)
        print(
            f"{count:>10,} {row['index']:>6} {row['recall_at_10']:>7.3f} {row['build_seconds']:>8.1f} {row['file_mib']:>9.0f} "
            f"{1000 * row['open_seconds']:>8.0f} {row['query_us']:>9.0f} {row['memory_mib']:>11.0f}",
            flush=True,
        )
    return {"growth": rows, "open_seconds_1m": rows[-1]["open_seconds"]}


def grown(work: Path, count: int) -> Result:
    """One size: published where it is not yet, then opened by a process that has done nothing else."""
    settings = Settings(data_dir=work / f"grown-{count}")
    measured = settings.layout.processes / "measured.json"
    if not measured.exists():
        migrate.upgrade(settings.database)
        db = Database(settings.database)
        vectors = synthetic.clustered(count)
        started = time.perf_counter()
        _, built = synthetic.publish(db, settings, vectors, "grown")
        seconds = time.perf_counter() - started
        measured.write_text(json.dumps({"index": built.kind, "recall_at_10": built.recall_at_10, "build_seconds": seconds}))
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.service", *sys.argv[1:]])
    faiss.omp_set_num_threads(1)
    db = Database(settings.database)
    before = memory()
    started = time.perf_counter()
    searcher = Searcher(settings, db)
    searcher.query(searcher.view(image_id=1), Query(positive=(1,), k=K))
    opened = time.perf_counter() - started
    asked = np.random.default_rng(1).integers(1, count + 1, 2000).tolist()
    started = time.perf_counter()
    for id_ in asked:
        searcher.query(searcher.view(image_id=id_), Query(positive=(id_,), k=K))
    each = (time.perf_counter() - started) / len(asked)
    size = sum(path.stat().st_size for path in (settings.root / "models").rglob("index.faiss")) / (1 << 20)
    figures = {"open_seconds": opened, "query_us": 1e6 * each, "memory_mib": memory() - before, "file_mib": size}
    return {"vectors": count, **json.loads(measured.read_text()), **figures}


def memory() -> float:
    """This process's resident memory, MiB, mapped files included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-service"), help="folder for data and environments")
    parser.add_argument("--only", choices=("ingest", "queries", "growth"), help="one part")
    parser.add_argument("--no-chroma", action="store_true", help="leave the comparison with Chroma out")
    parser.add_argument("--port", type=int, default=8140, help="this and the next one are used")
    parser.add_argument("--grown", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if arguments.grown:
        print(json.dumps(grown(work, arguments.grown)))
        return
    system, result = Embedded(work, arguments.port), Result()
    parts: dict[str, Callable[[], Result]] = {
        "ingest": lambda: ingest(system, work),
        "queries": lambda: queries(system, trained(system), work, not arguments.no_chroma),
        "growth": lambda: growth(work),
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            result |= part()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
