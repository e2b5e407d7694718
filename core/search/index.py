"""The faiss index over a model's embeddings: exact while that is fast, a navigable small-world graph beyond, inverted lists
where the graph would take too much memory."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import faiss
import numpy as np
from numpy.typing import NDArray

KINDS = ("flat", "hnsw", "ivf")
EXACT_LIMIT = 20_000  # rows of up to 128 numbers that exact search takes about a millisecond for
_EXACT_DIM = 128
_LINKS, _EF_CONSTRUCTION = 32, 200
_EF_SEARCH = (16, 24, 32, 48, 64)  # of which a graph gets the first that finds enough
_MEMORY_SHARE = 0.5  # of the machine's memory that a graph and its vectors may take while it is built
_LISTS_PER_ROOT, _TRAINED_PER_LIST = 4, 64  # lists per square root of N; vectors that a list's centre is learned from
_RECALL_QUERIES, _RECALL_K, _RECALL_WANTED = 1000, 10, 0.98
MEASURED = _RECALL_K + 1  # results of a page, and the query itself, whose recall was measured
_DEPTH = 100  # results that as many lists hold as the recall at 10 takes; more lie in more lists
_CGROUP = Path("/sys/fs/cgroup/memory.max")  # a container's limit, "max" for none


@dataclass(frozen=True)
class IndexInfo:
    """What was built, as the manifest records it; ``recall_at_10`` is against exact search over the same rows."""

    kind: str
    recall_at_10: float
    recall_queries: int


def choose(count: int, dim: int, memory: int | None = None) -> str:
    """The kind for N vectors of d numbers on a machine of so many bytes of memory (by default this one)."""
    if count * max(dim, _EXACT_DIM) <= EXACT_LIMIT * _EXACT_DIM:
        return "flat"
    graph = count * (4 * dim + 4 * 2 * _LINKS + 64)
    return "hnsw" if graph <= _MEMORY_SHARE * (memory or _memory()) else "ivf"


def _memory() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _CGROUP.read_text().strip() if _CGROUP.exists() else "max"
    return machine if limit == "max" else min(machine, int(limit))


def build(embeddings: NDArray[np.float32], path: Path, kind: str = "auto") -> IndexInfo:
    """Index unit rows (N, d) by inner product, write the file and measure its recall.

    HNSW (Malkov and Yashunin 2018) has 32 links and 200 candidates while building. IVF has 4 sqrt(N) lists; where faiss finds a
    GPU it is built there. So many candidates are looked at, 16 to 64, and so many lists searched, as the recall wanted takes.

    Args:
        kind: ``flat``, ``hnsw``, ``ivf`` or ``auto``.
    """
    count, dim = embeddings.shape
    kind = choose(count, dim) if kind == "auto" else kind
    sample = _RecallSample.of(embeddings)
    index: faiss.Index
    if kind == "flat":
        index = faiss.IndexFlatIP(dim)
        index.add(embeddings)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _EF_CONSTRUCTION
        index.add(embeddings)
        for index.hnsw.efSearch in _EF_SEARCH:
            if sample.recall(index) >= _RECALL_WANTED:
                break
    else:
        index = _inverted_lists(embeddings)
        while index.nprobe < index.nlist and sample.recall(index) < _RECALL_WANTED:
            index.nprobe = min(2 * index.nprobe, index.nlist)
    with open(path, "wb") as file:  # faiss's own writer keeps silent where the last bytes find no room
        writer = faiss.PyCallbackIOWriter(file.write)  # type: ignore[attr-defined]  # not in its stub
        faiss.write_index(index, writer)
    return IndexInfo(kind, sample.recall(index), len(sample.queries))


def _inverted_lists(embeddings: NDArray[np.float32]) -> "faiss.IndexIVFFlat":
    count, dim = embeddings.shape
    lists = max(1, min(int(_LISTS_PER_ROOT * count**0.5), count // 39 or 1))  # faiss wants 39 vectors for each
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    trained = embeddings[np.random.default_rng(0).permutation(count)[: lists * _TRAINED_PER_LIST]]
    if getattr(faiss, "get_num_gpus", int)() > 0:
        on_gpu = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
        on_gpu.train(trained)
        on_gpu.add(embeddings)
        index = cast("faiss.IndexIVFFlat", faiss.index_gpu_to_cpu(on_gpu))
    else:
        index.train(trained)
        index.add(embeddings)
    index.nprobe = 8
    return index


@dataclass(frozen=True)
class _RecallSample:
    """Some of the vectors (Q, d) and their similarities to the k best others (Q, k), exactly."""

    queries: NDArray[np.float32]
    exact: NDArray[np.float32]

    @classmethod
    def of(cls, embeddings: NDArray[np.float32]) -> "_RecallSample":
        queries = embeddings[np.random.default_rng(0).permutation(len(embeddings))[:_RECALL_QUERIES]]
        best = min(_RECALL_K + 1, len(embeddings))
        exact, _ = faiss.knn(queries, embeddings, best, metric=faiss.METRIC_INNER_PRODUCT)
        return cls(queries, exact[:, 1:])

    def recall(self, index: "faiss.Index") -> float:
        """Mean share of the k best others that the index also finds; equal similarities count as equal."""
        k = self.exact.shape[1]
        if k == 0:
            return 1.0
        similarities, _ = index.search(self.queries, k + 1)
        return float((similarities[:, 1:] >= self.exact[:, -1:] - 1e-6).mean())


def load(path: Path) -> "faiss.Index":
    """Open an index file memory-mapped, shared between processes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:  # a folder's name that is no UTF-8, which faiss takes alone
        with open(path, "rb") as file:
            return faiss.read_index(f"/proc/self/fd/{file.fileno()}", faiss.IO_FLAG_MMAP_IFC)
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def measured_depth(index: "faiss.Index") -> int:
    """The candidates with which a graph's recall was measured, for pages of up to ``MEASURED`` results; 0 for other kinds."""
    return int(index.hnsw.efSearch) if isinstance(index, faiss.IndexHNSW) else 0


def compared(index: "faiss.Index") -> int:
    """How many numbers a search for a few results compares, at most or about."""
    if isinstance(index, faiss.IndexHNSW):
        return int(index.hnsw.efSearch * 2 * _LINKS * index.d)
    share = index.nprobe / index.nlist if isinstance(index, faiss.IndexIVF) else 1
    return int(share * index.ntotal * index.d)


def parameters(index: "faiss.Index", depth: int) -> "faiss.SearchParameters | None":
    """How to search so that ``depth`` candidates are considered: the more, the less an approximate index misses."""
    if isinstance(index, faiss.IndexIVF) and depth > _DEPTH:
        lists = min(index.nlist, index.nprobe * -(-depth // _DEPTH))
        return faiss.SearchParametersIVF(nprobe=lists)  # type: ignore[call-arg]
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=depth)  # type: ignore[attr-defined,no-any-return]
    return None


def search(
    index: "faiss.Index", vector: NDArray[np.float32], count: int, parameters: "faiss.SearchParameters | None" = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows and similarities of the ``count`` best that an index finds, best first; perhaps fewer.

    Args:
        vector: unit vector (d,).
        count: results wanted, at least 1, and no more than the candidates that the parameters say.
    """
    scores, rows = index.search(vector[None], count, params=parameters)
    if rows[0, -1] >= 0:
        return rows[0], scores[0]
    count_found = int((rows[0] >= 0).sum())  # what is missing is at the end
    return rows[0, :count_found], scores[0, :count_found]
