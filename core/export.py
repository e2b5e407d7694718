"""Published embeddings with what is known of their images, as files for other tools."""

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np

from core.db import BATCH
from core.open_models import Rows
from core.snapshots import Snapshot


def _rows(seen: Snapshot) -> Rows:
    """The live rows in the order of image ids."""
    return seen.live[np.argsort(seen.ids[seen.live])]


def write_npz(seen: Snapshot, path: Path) -> None:
    """Write ``ids`` int64 (N,), ``paths`` and ``labels`` (N,) as text ("" for no label), ``embeddings`` float32 (N, d)."""
    rows = _rows(seen)
    known = [seen.describe(row) for row in rows.tolist()]
    paths, labels = np.array([path for path, _ in known]), np.array([label or "" for _, label in known])
    np.savez(path, ids=seen.ids[rows], paths=paths, labels=labels, embeddings=seen.vectors(rows))


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
