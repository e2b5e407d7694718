"""The faiss index over a model's embeddings: exact while that is fast, a navigable small-world graph beyond, inverted lists
where the graph would take too much memory."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

KINDS = ("flat", "hnsw", "ivf")
EXACT_LIMIT = 20_000  # rows up to which exact search takes about a millisecond
_LINKS, _EF_CONSTRUCTION, _EF_SEARCH = 32, 200, 64
_MEMORY_SHARE = 0.5  # of the machine's memory that a graph and its vectors may take while it is built
_LISTS_PER_ROOT, _TRAINED_PER_LIST = 4, 64  # lists per square root of N; vectors that a list's centre is learned from
_RECALL_QUERIES, _RECALL_K, _RECALL_WANTED = 1000, 10, 0.97


@dataclass(frozen=True)
class IndexInfo:
    """What was built, as the manifest records it; ``recall_at_10`` is against exact search over the same rows."""

    kind: str
    recall_at_10: float
    recall_queries: int


def choose(count: int, dim: int, memory: int | None = None) -> str:
    """The kind for N vectors of d numbers on a machine of so many bytes of memory (by default this one)."""
    if count <= EXACT_LIMIT:
        return "flat"
    memory = memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    graph = count * (4 * dim + 4 * 2 * _LINKS + 64)
    return "hnsw" if graph <= _MEMORY_SHARE * memory else "ivf"


def build(embeddings: NDArray[np.float32], path: Path, kind: str = "auto") -> IndexInfo:
    """Index unit rows (N, d) by inner product, write the file and measure its recall.

    HNSW (Malkov and Yashunin 2018) has 32 links, 200 candidates while building and 64 while searching. IVF has 4 sqrt(N) lists,
    of which as many are searched as a recall of 0.97 takes; where faiss finds a GPU it is built there.

    Args:
        kind: ``flat``, ``hnsw``, ``ivf`` or ``auto``.
    """
    count, dim = embeddings.shape
    kind = choose(count, dim) if kind == "auto" else kind
    queries = embeddings[np.random.default_rng(0).permutation(count)[:_RECALL_QUERIES]]
    k = min(_RECALL_K, count)
    index: faiss.Index
    if kind == "flat":
        index = faiss.IndexFlatIP(dim)
        index.add(embeddings)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _EF_CONSTRUCTION
        index.hnsw.efSearch = _EF_SEARCH
        index.add(embeddings)
    else:
        index = _inverted_lists(embeddings)
        while index.nprobe < index.nlist and recall(index, embeddings, queries, k) < _RECALL_WANTED:
            index.nprobe = min(2 * index.nprobe, index.nlist)
    faiss.write_index(index, str(path))
    return IndexInfo(kind, recall(index, embeddings, queries, k), len(queries))


def _inverted_lists(embeddings: NDArray[np.float32]) -> "faiss.IndexIVFFlat":
    count, dim = embeddings.shape
    lists = max(1, min(int(_LISTS_PER_ROOT * count**0.5), count // 39 or 1))  # faiss wants 39 vectors for each
    index: Any = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    trained = embeddings[np.random.default_rng(0).permutation(count)[: lists * _TRAINED_PER_LIST]]
    if getattr(faiss, "get_num_gpus", int)() > 0:
        on_gpu = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
        on_gpu.train(trained)
        on_gpu.add(embeddings)
        index = faiss.index_gpu_to_cpu(on_gpu)
    else:
        index.train(trained)
        index.add(embeddings)
    index.nprobe = 8
    return index  # type: ignore[no-any-return]


def recall(index: "faiss.Index", embeddings: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> float:
    """Mean share of the k best similarities that the index also finds; equal similarities count as equal."""
    exact, _ = faiss.knn(queries, embeddings, k, metric=faiss.METRIC_INNER_PRODUCT)
    found, _ = index.search(queries, k)
    return float((found >= exact[:, -1:] - 1e-6).mean())


def load(path: Path) -> "faiss.Index":
    """Open an index file memory-mapped, shared between processes."""
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def search_among(
    index: "faiss.Index", vector: NDArray[np.float32], count: int, allowed: NDArray[np.int64], total: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows and similarities of the best of the allowed rows that the index finds, best first; perhaps fewer than ``count``.

    Args:
        vector: unit vector (d,).
        count: results wanted.
        allowed: rows to choose from.
        total: N.
    """
    bits = np.zeros(total, bool)
    bits[allowed] = True
    selector = faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))  # type: ignore[call-arg, arg-type]
    parameters: Any
    if isinstance(index, faiss.IndexIVF):
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=index.nprobe)  # type: ignore[call-arg]
    elif isinstance(faiss.downcast_index(index), faiss.IndexHNSW):
        parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=max(_EF_SEARCH, 2 * count))  # type: ignore[attr-defined]
    else:
        parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
    scores, rows = index.search(vector[None], count, params=parameters)
    found = rows[0] >= 0
    return rows[0][found], scores[0][found]
