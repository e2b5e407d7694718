"""The faiss index over a model's embeddings: exact while that is fast, a navigable small-world graph beyond."""

from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

EXACT_LIMIT = 20_000  # rows up to which exact search takes about a millisecond
_LINKS, _EF_CONSTRUCTION, _EF_SEARCH = 32, 200, 64
_RECALL_QUERIES, _RECALL_K = 1000, 10


@dataclass(frozen=True)
class IndexInfo:
    """What was built, as the manifest records it; ``recall_at_10`` is against exact search over the same rows."""

    kind: str
    recall_at_10: float
    recall_queries: int


def build(embeddings: NDArray[np.float32], path: Path) -> IndexInfo:
    """Index unit rows (N, d) by inner product, write the file and measure its recall.

    HNSW (Malkov and Yashunin 2018) has 32 links, 200 candidates while building and 64 while searching.
    """
    count, dim = embeddings.shape
    index: faiss.Index
    if count <= EXACT_LIMIT:
        index, kind = faiss.IndexFlatIP(dim), "flat"
    else:
        index, kind = faiss.IndexHNSWFlat(dim, _LINKS, faiss.METRIC_INNER_PRODUCT), "hnsw"
        index.hnsw.efConstruction = _EF_CONSTRUCTION
        index.hnsw.efSearch = _EF_SEARCH
    index.add(embeddings)
    faiss.write_index(index, str(path))
    queries = embeddings[np.random.default_rng(0).permutation(count)[:_RECALL_QUERIES]]
    return IndexInfo(kind, recall(index, embeddings, queries, min(_RECALL_K, count)), len(queries))


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
    if isinstance(faiss.downcast_index(index), faiss.IndexHNSW):
        parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=max(_EF_SEARCH, 2 * count))  # type: ignore[attr-defined]
    else:
        parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
    scores, rows = index.search(vector[None], count, params=parameters)
    found = rows[0] >= 0
    return rows[0][found], scores[0][found]
