"""Setting labels after the upload, by path or by image id."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic_core import from_json
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.collections import datasets
from core.errors import BadLabels
from core.ground.label_text import label_text
from core.store.db import BATCH, Database
from core.store.kinds import DatasetStatus
from core.store.tables import Dataset, Image, Label, Rejection
from core.untrusted import label_tables

T = TypeVar("T")
Key = TypeVar("Key", str, int)  # a path or an image id
_NAMED = 5  # unknown paths that an error names
_MAX_LABEL = 200  # characters
_MAX_ID = 2**63 - 1  # what a database's integers hold


@dataclass(frozen=True)
class LabelCounts:
    """What a change of labels did; ``ignored`` paths are of refused files (see rejections), such as duplicates."""

    set: int
    removed: int
    ignored: int


class RequestedLabels(dict[str | int, str | None]):
    """The labels of a request by path or image id, ``None`` to remove one; ``places`` holds the row or entry of each."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str | int, str] = {}


def parse_csv(data: bytes) -> RequestedLabels:
    """A table (``label_tables``) with the columns ``path`` or ``image_id`` and ``label``; an empty label removes one.

    Raises:
        BadLabels: no such table; the message names row and column.
    """
    return _checked(((f"row {number}, column ", entry) for number, entry in label_tables.rows(data)), named=True)


def parse_json(data: bytes) -> RequestedLabels:
    """``[{"path" or "image_id", "label"}]`` or ``{path: label}``; a label of null removes one.

    Raises:
        BadLabels: neither of them.
    """
    try:
        from_json(data)  # refuses half characters and deep nesting
        entries = json.loads(data, object_pairs_hook=_object_without_repeats)
    except ValueError as error:
        raise BadLabels(f"not JSON: {error}") from error
    if isinstance(entries, dict):
        entries = [{"path": path, "label": label} for path, label in entries.items()]
    if not isinstance(entries, list):
        raise BadLabels('must be a list of {"path" or "image_id", "label"} or an object {path: label}')
    return _checked((f"entry {number}", entry) for number, entry in enumerate(entries, start=1))


def _object_without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object; Python's reader would silently take the last of two equal names."""
    result: dict[str, object] = {}
    for name, value in pairs:
        if name in result and result[name] != value:
            raise BadLabels(f"{name} has two labels" if name not in ("path", "image_id", "label") else f"{name}: is given twice")
        result[name] = value
    return result


def _checked(entries: Iterable[tuple[str, object]], named: bool = False) -> RequestedLabels:
    """The labels that entries ask for. Errors begin with the entry's place, in a table (``named``) followed by the column."""
    result = RequestedLabels()
    for place, entry in entries:
        if not isinstance(entry, dict) or set(entry) not in label_tables.COLUMNS:
            raise BadLabels(f"{place}: must hold path or image_id, and label")
        key_name = "path" if "path" in entry else "image_id"
        at_key, at_label = (f"{place}{name}" if named else place for name in (key_name, "label"))
        key = entry["path"] if key_name == "path" else _id(at_key, entry["image_id"])
        if key_name == "path" and (not isinstance(key, str) or not key or "\0" in key):
            raise BadLabels(f"{at_key}: the path must be a text without NUL, and not empty")
        label = entry["label"]
        if label is not None and (not isinstance(label, str) or len(label) > _MAX_LABEL or "\0" in label):
            raise BadLabels(f"{at_label}: the label of {key} must be a text of at most {_MAX_LABEL} characters without NUL")
        label = None if label is None else label_text(label)
        if result.get(key, label) != label:
            here, before = (repr(text) if text else "none" for text in (label, result[key]))
            raise BadLabels(f"{at_label}: {key} has two labels, {here} here and {before} in {result.places[key]}")
        result[key], result.places[key] = label, at_key
    if not result:
        raise BadLabels("no label given")
    return result


def _id(place: str, value: object) -> int:
    """An image id, as a number or, as in a CSV, as its digits."""
    id_ = int(value) if isinstance(value, str) and re.fullmatch(r"[ ]*[0-9]{1,19}[ ]*", value) else value
    if not isinstance(id_, int) or isinstance(id_, bool) or not 0 <= id_ <= _MAX_ID:
        raise BadLabels(f"{place}: image_id must be a whole number from 0 to {_MAX_ID}")
    return id_


def set_labels(db: Database, dataset_id: str, requested: Mapping[str | int, str | None]) -> LabelCounts:
    """Set and remove labels; images that are not named keep theirs. Nothing changes unless every name is known; an image
    that is deleted meanwhile is passed over.

    Raises:
        DatasetNotFound: no such dataset.
        BadLabels: the dataset is not ready, a path or id is not in it, or a path and an id give one image two labels.
    """
    with db.read() as session:
        if datasets.get(session, dataset_id).status != DatasetStatus.READY:
            raise BadLabels(f"{dataset_id} is not ready")
        ids = _ids(session, dataset_id, requested)
        unknown = [key for key in requested if key not in ids]
        ignored = _refused(session, dataset_id, unknown)
    unknown = [key for key in unknown if key not in ignored]
    if unknown:
        places = requested.places if isinstance(requested, RequestedLabels) else {}
        listed = ", ".join(f"{key} ({places[key]})" if key in places else str(key) for key in unknown[:_NAMED])
        raise BadLabels(f"{len(unknown)} of {len(requested)} are not in {dataset_id}, so nothing was changed: {listed}")
    wanted: dict[int, str | None] = {}
    for key, id_ in ids.items():
        if wanted.setdefault(id_, requested[key]) != requested[key]:
            raise BadLabels(f"{key} and {id_} are one image with two labels, so nothing was changed")
    kept = removed = 0
    try:
        for number, batch in enumerate(_batches(sorted(wanted))):
            with db.write() as session:
                if number == 0:  # should this process be killed before the end, what was changed is seen all the same
                    datasets.update_and_invalidate(session, dataset_id, labels=True)
                alive = _locked(session, dataset_id, batch)
                session.execute(delete(Label).where(Label.image_id.in_(alive)))
                fresh = [{"image_id": id_, "label": wanted[id_]} for id_ in alive if wanted[id_] is not None]
                if fresh:
                    session.execute(insert(Label), fresh)
            kept, removed = kept + len(fresh), removed + len(alive) - len(fresh)
    finally:
        with db.write() as session:
            datasets.update_and_invalidate(session, dataset_id, labels=True)
    return LabelCounts(kept, removed, len(ignored))


def _locked(session: Session, dataset_id: str, ids: Sequence[int]) -> Sequence[int]:
    """Those of the images that were not deleted; until the transaction ends they cannot be, and nobody else changes labels
    of the dataset. Its row is locked before those of images, as whatever deletes or adds images does."""
    session.execute(select(Dataset.id).where(Dataset.id == dataset_id).with_for_update(key_share=True))
    alive = select(Image.id).where(Image.id.in_(ids)).order_by(Image.id)
    return session.scalars(alive.with_for_update(read=True, key_share=True)).all()


def _ids(session: Session, dataset_id: str, requested: Mapping[str | int, str | None]) -> dict[str | int, int]:
    ids: dict[str | int, int] = {}
    ids.update(_ids_by(session, dataset_id, Image.path, [key for key in requested if isinstance(key, str)]))
    ids.update(_ids_by(session, dataset_id, Image.id, [key for key in requested if isinstance(key, int)]))
    return ids


def _ids_by(
    session: Session, dataset_id: str, column: InstrumentedAttribute[Key], keys: Sequence[Key]
) -> Iterator[tuple[Key, int]]:
    for batch in _batches(keys):
        rows = session.execute(select(column, Image.id).where(Image.dataset_id == dataset_id, column.in_(batch)))
        yield from ((key, id_) for key, id_ in rows)


def _refused(session: Session, dataset_id: str, keys: list[str | int]) -> set[str | int]:
    paths = [key for key in keys if isinstance(key, str)]
    refused: set[str | int] = set()
    for batch in _batches(paths):
        statement = select(Rejection.path).where(Rejection.dataset_id == dataset_id, Rejection.path.in_(batch))
        refused |= set(session.scalars(statement))
    return refused


def _batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), BATCH):
        yield values[start : start + BATCH]
