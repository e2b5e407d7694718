"""Published embeddings with what is known of their images, as files for other tools."""

import csv
import zipfile
from collections.abc import Callable, Iterable, Iterator
from io import StringIO
from typing import IO, TypedDict

import numpy as np
from numpy.typing import NDArray

from core.ground.cells import quoted
from core.search.ranking import Rows
from core.search.snapshots import Snapshot
from core.store.db import BATCH

_DIGITS = 4  # of a place and an entropy: more would only make the answer longer


def _rows(snapshot: Snapshot) -> Rows:
    """The live rows in the order of image ids."""
    return snapshot.live[np.argsort(snapshot.ids[snapshot.live])]


def write_npz(snapshot: Snapshot, file: IO[bytes]) -> None:
    """Write ``ids`` int64 (N,), ``paths`` and ``labels`` (N,) as text ("" for no label), ``embeddings`` float32 (N, d).

    Some rows at a time: NumPy's texts are all as wide as the longest one, so that one long path among a million would take
    gigabytes of memory; in the file they are compressed.
    """
    rows = _rows(snapshot)
    blocks = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]

    def texts(text_of: Callable[[int], str]) -> tuple[np.dtype[np.str_], Iterator[NDArray[np.str_]]]:
        kind = np.dtype(f"<U{max((len(text_of(row)) for row in rows.tolist()), default=1) or 1}")
        return kind, (np.array([text_of(row) for row in block.tolist()], kind) for block in blocks)

    with zipfile.ZipFile(file, "w") as archive:
        _write(archive, "ids", (len(rows),), np.dtype("<i8"), (snapshot.ids[block] for block in blocks))
        _write(archive, "paths", (len(rows),), *texts(lambda row: snapshot.describe(row)[0]), zipfile.ZIP_DEFLATED)
        _write(archive, "labels", (len(rows),), *texts(lambda row: snapshot.describe(row)[1] or ""), zipfile.ZIP_DEFLATED)
        shape = (len(rows), snapshot.model.embeddings.shape[1])
        _write(archive, "embeddings", shape, np.dtype("<f4"), (snapshot.vectors(block) for block in blocks))


class MapColumns(TypedDict):
    """A model's live images as columns, in the order of ids."""

    ids: list[int]
    x: list[float]
    y: list[float]
    names: list[str]
    labels: list[int]  # indices of ``names``, -1 for none
    entropy: list[list[float]]  # one list for each round, nats; NaN for an image that compaction merged into the model
    anchor_round: list[int]  # 0 for never


def map_of(snapshot: Snapshot) -> MapColumns:
    """The map of a model. Images that were added since the model was made have no place on it yet."""
    rows = _rows(snapshot)
    rows = rows[rows < len(snapshot.model.ids)]
    places = snapshot.model.projection[rows].astype(np.float64).round(_DIGITS)
    learned = snapshot.model.neighbourhoods
    entropy = learned["entropy"][:, rows].astype(np.float64).round(_DIGITS)
    return {
        "ids": snapshot.ids[rows].tolist(),
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        "names": snapshot.names,
        "labels": snapshot.class_of(rows).tolist(),
        "entropy": entropy.tolist(),
        "anchor_round": np.maximum(learned["anchor_round"][rows], 0).tolist(),
    }


def _write(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    kind: np.dtype[np.generic],
    blocks: Iterable[NDArray[np.generic]],
    compression: int = zipfile.ZIP_STORED,
) -> None:
    """One array as a member that ``np.load`` reads."""
    member = zipfile.ZipInfo(f"{name}.npy")
    member.compress_type = compression
    with archive.open(member, "w", force_zip64=True) as opened:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(opened, header)
        for block in blocks:
            opened.write(block.astype(kind, copy=False).tobytes())


def csv_lines(snapshot: Snapshot) -> Iterator[str]:
    """The same as CSV text: ``image_id, path, label, e0, e1, ...``, some lines at a time; no text is a formula (``cells``)."""
    names = [f"e{number}" for number in range(snapshot.model.embeddings.shape[1])]
    yield ",".join(["image_id", "path", "label", *names]) + "\r\n"
    order = _rows(snapshot)
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        text = StringIO()
        table = csv.writer(text)
        for row, vector in zip(rows.tolist(), snapshot.vectors(rows).tolist(), strict=True):
            path, label = snapshot.describe(row)
            table.writerow([snapshot.ids[row], quoted(path), quoted(label or ""), *(f"{value:.7g}" for value in vector)])
        yield text.getvalue()
