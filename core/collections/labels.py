"""Setting labels after the upload, by path or by image id."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.collections import datasets, listing
from core.errors import BadLabels
from core.store.db import BATCH, Database
from core.store.kinds import DatasetStatus
from core.store.locks import lock_dataset
from core.store.tables import Image, Label, Rejection
from core.untrusted.label_requests import RequestedLabels

Key = TypeVar("Key", str, int)  # a path or an image id
_NAMED = 5  # unknown paths that an error names
_SHOWN = 300  # characters of each


@dataclass(frozen=True)
class LabelCounts:
    """What a change of labels did; ``ignored`` paths are of refused files (see rejections), such as duplicates."""

    set: int
    removed: int
    ignored: int


def set_labels(db: Database, dataset_id: str, requested: RequestedLabels) -> LabelCounts:
    """Set and remove labels; images that are not named keep theirs. Nothing changes unless every name is known; an image
    that is deleted meanwhile is passed over.

    Raises:
        DatasetNotFound: no such dataset.
        BadLabels: the dataset is not ready, a path or id is not in it, or a path and an id give one image two labels.
    """
    ignored = _find(db, dataset_id, requested)
    kept = removed = 0
    try:
        for number, wanted in enumerate(requested.found(BATCH)):
            with db.write() as session:
                if number == 0:  # should this process be killed before the end, what was changed is seen all the same
                    datasets.update_and_invalidate(session, dataset_id, labels=True)
                alive = _locked(session, dataset_id, list(wanted))
                session.execute(delete(Label).where(Label.image_id.in_(alive)))
                fresh = [{"image_id": id_, "label": wanted[id_]} for id_ in alive if wanted[id_] is not None]
                if fresh:
                    session.execute(insert(Label), fresh)
            kept, removed = kept + len(fresh), removed + len(alive) - len(fresh)
    finally:
        with db.write() as session:
            datasets.update_and_invalidate(session, dataset_id, labels=True)
    return LabelCounts(kept, removed, ignored)


def _find(db: Database, dataset_id: str, requested: RequestedLabels) -> int:
    """Look up which images are meant; returns how many paths are of refused files. Arguments and errors as of ``set_labels``."""
    ignored = unknown = 0
    named: list[str] = []
    with db.read() as session:
        if datasets.get(session, dataset_id).status != DatasetStatus.READY:
            raise BadLabels(f"{dataset_id} is not ready")
        all_listed = not listing.unlisted(session, dataset_id, None)  # else any unknown path may be of a file that was refused
        for batch in requested.asked(BATCH):
            ids = _ids(session, dataset_id, batch)
            missing = [key for key in batch if key not in ids]
            refused = _refused(session, dataset_id, missing) if all_listed else {key for key in missing if isinstance(key, str)}
            missing = [key for key in missing if key not in refused]
            ignored, unknown = ignored + len(refused), unknown + len(missing)
            places = ((str(key), batch[key][1]) for key in missing[: _NAMED - len(named)])
            named += [f"{key[:_SHOWN]} ({place})" if place else key[:_SHOWN] for key, place in places]
            for key, id_ in ids.items():
                requested.find(id_, key, batch[key][0])
    if unknown:
        listed = ", ".join(named)
        raise BadLabels(f"{unknown} of {len(requested)} are not in {dataset_id}, so nothing was changed: {listed}")
    return ignored


def _locked(session: Session, dataset_id: str, ids: Sequence[int]) -> Sequence[int]:
    """Those of the images that were not deleted; until the transaction ends they cannot be, and nobody else changes labels
    of the dataset."""
    lock_dataset(session, dataset_id)
    alive = select(Image.id).where(Image.id.in_(ids)).order_by(Image.id)
    return session.scalars(alive.with_for_update(read=True, key_share=True)).all()


def _ids(session: Session, dataset_id: str, keys: Collection[str | int]) -> dict[str | int, int]:
    ids: dict[str | int, int] = {}
    ids.update(_ids_by(session, dataset_id, Image.path, [key for key in keys if isinstance(key, str)]))
    ids.update(_ids_by(session, dataset_id, Image.id, [key for key in keys if isinstance(key, int)]))
    return ids


def _ids_by(
    session: Session, dataset_id: str, column: InstrumentedAttribute[Key], keys: Sequence[Key]
) -> Iterator[tuple[Key, int]]:
    if keys:
        rows = session.execute(select(column, Image.id).where(Image.dataset_id == dataset_id, column.in_(keys)))
        yield from ((key, id_) for key, id_ in rows)


def _refused(session: Session, dataset_id: str, keys: Sequence[str | int]) -> set[str | int]:
    paths = [key for key in keys if isinstance(key, str)]
    if not paths:
        return set()
    return set(session.scalars(select(Rejection.path).where(Rejection.dataset_id == dataset_id, Rejection.path.in_(paths))))
