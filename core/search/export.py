"""Published embeddings with what is known of their images, as files for other tools."""

import csv
import zipfile
from collections.abc import Callable, Iterable, Iterator
from io import StringIO
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from core.search.ranking import Rows
from core.search.snapshots import Snapshot
from core.store.db import BATCH

_DIGITS = 4  # of a place and an entropy: more would only make the answer longer


def _rows(seen: Snapshot) -> Rows:
    """The live rows in the order of image ids."""
    return seen.live[np.argsort(seen.ids[seen.live])]


def write_npz(seen: Snapshot, file: IO[bytes]) -> None:
    """Write ``ids`` int64 (N,), ``paths`` and ``labels`` (N,) as text ("" for no label), ``embeddings`` float32 (N, d).

    Some rows at a time: NumPy's texts are all as wide as the longest one, so that one long path among a million would take
    gigabytes of memory; in the file they are compressed.
    """
    rows = _rows(seen)
    blocks = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]

    def texts(of: Callable[[int], str]) -> tuple[np.dtype[Any], Iterator[NDArray[Any]]]:
        kind = np.dtype(f"<U{max((len(of(row)) for row in rows.tolist()), default=1) or 1}")
        return kind, (np.array([of(row) for row in block.tolist()], kind) for block in blocks)

    with zipfile.ZipFile(file, "w") as archive:
        _write(archive, "ids", (len(rows),), np.dtype("<i8"), (seen.ids[block] for block in blocks))
        for name, of in (("paths", lambda row: seen.describe(row)[0]), ("labels", lambda row: seen.describe(row)[1] or "")):
            _write(archive, name, (len(rows),), *texts(of), zipfile.ZIP_DEFLATED)
        shape = (len(rows), seen.model.embeddings.shape[1])
        _write(archive, "embeddings", shape, np.dtype("<f4"), (seen.vectors(block) for block in blocks))


def map_of(seen: Snapshot) -> dict[str, Any]:
    """The model's live images as columns, in the order of ids: ``ids``, their places ``x`` and ``y``, ``labels`` (indices of
    ``names``, -1 for none), ``entropy`` (one list for each round, nats) and ``anchor_round`` (0 for never). What was added
    since the model was made has no place yet; what was merged into it has no entropy (NaN)."""
    rows = _rows(seen)
    rows = rows[rows < len(seen.model.ids)]
    places = seen.model.projection[rows].astype(np.float64).round(_DIGITS)
    learned = seen.model.neighbourhoods
    entropy = learned["entropy"][:, rows].astype(np.float64).round(_DIGITS)
    return {
        "ids": seen.ids[rows].tolist(),
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        "names": seen.names,
        "labels": seen.class_of(rows).tolist(),
        "entropy": entropy.tolist(),
        "anchor_round": np.maximum(learned["anchor_round"][rows], 0).tolist(),
    }


def _write(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    kind: np.dtype[Any],
    blocks: Iterable[NDArray[Any]],
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


def csv_lines(seen: Snapshot) -> Iterator[str]:
    """The same as CSV text: ``image_id, path, label, e0, e1, ...``, some lines at a time."""
    names = [f"e{number}" for number in range(seen.model.embeddings.shape[1])]
    yield ",".join(["image_id", "path", "label", *names]) + "\r\n"
    order = _rows(seen)
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        text = StringIO()
        table = csv.writer(text)
        for row, vector in zip(rows.tolist(), seen.vectors(rows).tolist(), strict=True):
            path, label = seen.describe(row)
            table.writerow([seen.ids[row], path, label or "", *(f"{value:.7g}" for value in vector)])
        yield text.getvalue()
