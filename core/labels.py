"""Labels given after the upload, by path or by image id."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from core import datasets
from core.db import BATCH, Database
from core.errors import BadLabels
from core.models import DatasetStatus, Image, Label, Rejection

T = TypeVar("T")
_NAMED = 5  # unknown paths that an error names
_MAX_LABEL = 200  # characters


@dataclass(frozen=True)
class LabelCounts:
    """What a change of labels did; ``ignored`` paths are of files that are no image of their own (see rejections)."""

    set: int
    removed: int
    ignored: int


def parse_csv(data: bytes) -> dict[str | int, str | None]:
    """A table with the columns ``path`` (or ``image_id``) and ``label``; an empty label removes one.

    Raises:
        BadLabels: no such table; the message names the line.
    """
    try:
        table = csv.DictReader(io.StringIO(data.decode("utf-8-sig")), strict=True)
        columns = set(table.fieldnames or [])
        if columns not in ({"path", "label"}, {"image_id", "label"}):
            raise BadLabels("the first line of the CSV must be path,label or image_id,label")
        entries = [dict(row) for row in table]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadLabels(f"not a CSV file in UTF-8: {error}") from error
    return _checked(entries, first_line=2)


def parse_json(data: bytes) -> dict[str | int, str | None]:
    """``[{"path" or "image_id", "label"}]`` or ``{path: label}``; a label of null removes one.

    Raises:
        BadLabels: neither of them.
    """
    try:
        given = json.loads(data)
    except ValueError as error:
        raise BadLabels(f"not JSON: {error}") from error
    if isinstance(given, dict):
        given = [{"path": path, "label": label} for path, label in given.items()]
    if not isinstance(given, list):
        raise BadLabels('must be a list of {"path" or "image_id", "label"} or an object {path: label}')
    return _checked(given, first_line=1)


def _checked(entries: list[Any], first_line: int) -> dict[str | int, str | None]:
    result: dict[str | int, str | None] = {}
    for number, entry in enumerate(entries, start=first_line):
        keys = set(entry) if isinstance(entry, dict) else set()
        if keys not in ({"path", "label"}, {"image_id", "label"}):
            raise BadLabels(f"entry {number}: must hold path or image_id, and label")
        label = entry["label"] or None
        if label is not None and (not isinstance(label, str) or len(label) > _MAX_LABEL or "\0" in label):
            raise BadLabels(f"entry {number}: the label must be a text of at most {_MAX_LABEL} characters without NUL")
        try:
            key = int(entry["image_id"]) if "image_id" in entry else str(entry["path"])
        except (TypeError, ValueError) as error:
            raise BadLabels(f"entry {number}: image_id must be a whole number") from error
        if result.get(key, label) != label:
            raise BadLabels(f"entry {number}: {key} has two labels")
        result[key] = label
    if not result:
        raise BadLabels("no label given")
    return result


def change(db: Database, dataset_id: str, given: Mapping[str | int, str | None]) -> LabelCounts:
    """Set and remove labels; images that are not named keep theirs. Nothing changes unless every name is known.

    Raises:
        DatasetNotFound: no such dataset.
        BadLabels: the dataset is not ready, or a path or id is not in it.
    """
    with db.read() as session:
        if datasets.get(session, dataset_id).status != DatasetStatus.READY:
            raise BadLabels(f"{dataset_id} is not ready")
        ids = _ids(session, dataset_id, given)
        unknown = [key for key in given if key not in ids]
        refused = _refused(session, dataset_id, unknown)
    unknown = [key for key in unknown if key not in refused]
    if unknown:
        some = ", ".join(map(str, unknown[:_NAMED]))
        raise BadLabels(f"{len(unknown)} of {len(given)} are not in {dataset_id}, so nothing was changed: {some}")
    wanted = {ids[key]: label for key, label in given.items() if key in ids}
    for batch in _batches(list(wanted.items())):
        with db.write() as session:
            session.execute(delete(Label).where(Label.image_id.in_([id_ for id_, _ in batch])))
            fresh = [{"image_id": id_, "label": label} for id_, label in batch if label is not None]
            if fresh:
                session.execute(insert(Label), fresh)
            datasets.change(session, dataset_id)
    with db.write() as session:
        datasets.change(session, dataset_id, classes=datasets.class_count(dataset_id))
    kept = sum(label is not None for label in wanted.values())
    return LabelCounts(kept, len(wanted) - kept, len(refused))


def _ids(session: Session, dataset_id: str, given: Mapping[str | int, str | None]) -> dict[str | int, int]:
    found: dict[str | int, int] = {}
    columns: tuple[tuple[Any, type], ...] = ((Image.path, str), (Image.id, int))
    for column, kind in columns:
        named = [key for key in given if isinstance(key, kind)]
        for some in _batches(named):
            rows = session.execute(select(column, Image.id).where(Image.dataset_id == dataset_id, column.in_(some)))
            found.update(dict(rows.all()))
    return found


def _refused(session: Session, dataset_id: str, keys: list[str | int]) -> set[str | int]:
    paths = [key for key in keys if isinstance(key, str)]
    found: set[str | int] = set()
    for some in _batches(paths):
        refused = select(Rejection.path).where(Rejection.dataset_id == dataset_id, Rejection.path.in_(some))
        found |= set(session.scalars(refused))
    return found


def _batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), BATCH):
        yield values[start : start + BATCH]
