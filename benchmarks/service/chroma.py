"""A Chroma server with the same vectors, in an environment of its own, for ``benchmarks.service``."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

NAME, K, BODIES = "images", 10, 5000
_FILL = """
import sys, numpy, chromadb
path, folder, candidates = sys.argv[1:]
client = chromadb.PersistentClient(path)
made = client.create_collection(
    "images", configuration={"hnsw": {"space": "ip", "ef_search": int(candidates), "ef_construction": 200, "max_neighbors": 32}}
)
ids, vectors = numpy.load(folder + "/ids.npy"), numpy.load(folder + "/embeddings.npy")
for start in range(0, len(ids), 5000):
    made.add(ids=[str(id_) for id_ in ids[start : start + 5000]], embeddings=vectors[start : start + 5000])
"""


@dataclass
class Chroma:
    """A filled database, and the bodies of random queries."""

    program: Path
    data: Path
    bodies: Path

    def command(self, port: int) -> list[str]:
        return [str(self.program), "run", "--path", str(self.data), "--host", "127.0.0.1", "--port", str(port)]

    def route(self, port: int) -> str:
        """Where a running server answers queries."""
        base = "/api/v2/tenants/default_tenant/databases/default_database/collections"
        id_ = httpx.get(f"http://127.0.0.1:{port}{base}/{NAME}").raise_for_status().json()["id"]
        return f"{base}/{id_}/query"

    def answers(self, port: int, count: int) -> list[list[int]]:
        """Ids found for the first images, without themselves."""
        url, found = f"http://127.0.0.1:{port}{self.route(port)}", []
        first = json.loads((self.data.parent / "first.json").read_text())
        for id_, vector in first[:count]:
            body = {"query_embeddings": [vector], "n_results": K + 1, "include": ["distances"]}
            (answer,) = httpx.post(url, json=body, timeout=60).raise_for_status().json()["ids"]
            found.append([int(other) for other in answer if int(other) != id_][:K])
        return found


def prepared(work: Path, folder: Path, candidates: int) -> Chroma:
    """Install Chroma, and fill it with a model's vectors, each once; a search looks at as many candidates as ours does."""
    installed, home = work / "chroma/venv", work / f"chroma/{folder.name}-{candidates}"
    data, bodies = home / "data", home / "bodies.jsonl"
    if not (installed / "bin/chroma").exists():
        subprocess.run([sys.executable, "-m", "venv", str(installed)], check=True)
        subprocess.run([str(installed / "bin/pip"), "install", "--quiet", "chromadb"], check=True)
    if not bodies.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        subprocess.run([str(installed / "bin/python"), "-c", _FILL, str(data), str(folder), str(candidates)], check=True)
        ids, vectors = np.load(folder / "ids.npy"), np.load(folder / "embeddings.npy")
        first = [(int(id_), vector.tolist()) for id_, vector in zip(ids[:1000], vectors[:1000], strict=True)]
        (home / "first.json").write_text(json.dumps(first))
        rows = np.random.default_rng(0).permutation(len(ids))[:BODIES]
        lines = [
            json.dumps({"query_embeddings": [vectors[row].tolist()], "n_results": K, "include": ["distances"]}) for row in rows
        ]
        bodies.write_text("\n".join(lines) + "\n")
    return Chroma(installed / "bin/chroma", data, bodies)
