"""Published embeddings with what is known of their images, as files for other tools."""

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
from sqlalchemy.orm import Session

from core.db import BATCH
from core.labels import of_images
from core.open_models import OpenModel, Rows


def blocks(session: Session, model: OpenModel) -> Iterator[tuple[Rows, list[str], list[str]]]:
    """Rows of the model in the order of image ids, some at a time, with paths and labels ("" for none)."""
    order = np.argsort(model.ids)
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        known = of_images(session, model.ids[rows].tolist())
        rows = np.array([row for row in rows if int(model.ids[row]) in known], np.int64)
        named = [known[int(model.ids[row])] for row in rows]
        yield rows, [path for path, _ in named], [label or "" for _, label in named]


def write_npz(session: Session, model: OpenModel, path: Path) -> None:
    """Write ``ids`` int64 (N,), ``paths`` and ``labels`` (N,) as text, ``embeddings`` float32 (N, d)."""
    parts = list(blocks(session, model))
    rows = np.concatenate([rows for rows, _, _ in parts])
    paths = [path for _, some, _ in parts for path in some]
    labels = [label for _, _, some in parts for label in some]
    np.savez(path, ids=model.ids[rows], paths=np.array(paths), labels=np.array(labels), embeddings=model.embeddings[rows])


def csv_lines(session: Session, model: OpenModel) -> Iterator[str]:
    """The same as CSV text: ``image_id, path, label, e0, e1, ...``, some lines at a time."""
    names = [f"e{number}" for number in range(model.embeddings.shape[1])]
    yield ",".join(["image_id", "path", "label", *names]) + "\r\n"
    for rows, paths, labels in blocks(session, model):
        text = StringIO()
        table = csv.writer(text)
        for row, path, label in zip(rows, paths, labels, strict=True):
            table.writerow([int(model.ids[row]), path, label, *(f"{value:.7g}" for value in model.embeddings[row].tolist())])
        yield text.getvalue()
