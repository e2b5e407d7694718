"""Build, opening, query and memory of made models of several sizes, each measured by a process that has done nothing else."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import faiss
import numpy as np

from benchmarks.results import Result
from benchmarks.service import synthetic
from benchmarks.service.size import Size
from core.search.queries import Query
from core.search.searcher import Searcher
from core.settings import Settings
from core.store import migrate
from core.store.db import Database

K = 10


def growth(work: Path, size: Size) -> Result:
    """Build, opening, query and memory at several sizes, each in a process of its own."""
    rows = []
    print("   vectors  index  recall  build s  file MiB  open ms  query us  memory MiB")
    for count in size.growth:
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
