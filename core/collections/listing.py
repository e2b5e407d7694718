"""Pages of datasets, and of their images, refused files, models and attention maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Select, null, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.collections import datasets as one_dataset
from core.collections import published
from core.ground.label_text import label_text
from core.store import keyset
from core.store.keyset import Page
from core.store.tables import Attention, Dataset, Image, Job, Label, Model, Rejection

_UPLOADS = 100  # whose counts an answer holds
Created = TypeVar("Created", Dataset, Model)


def datasets(session: Session, limit: int, after: str | None, name: str | None) -> Page[Dataset]:
    """Datasets in the order of their creation, perhaps only those of a name; fewer than ``limit`` where much is noted with them.

    Raises:
        BadCursor: ``after`` is the id of none.
    """
    wanted = select(Dataset) if name is None else select(Dataset).where(Dataset.name == name)
    return _in_order_of_creation(session, Dataset, wanted, limit, after, (Dataset.dataset_metadata,))


def models(session: Session, limit: int, after: str | None, dataset_id: str | None) -> Page[Model]:
    """Models in the order of their publication, perhaps only those of a dataset.

    Raises:
        BadCursor: ``after`` is the id of none.
    """
    wanted = select(Model) if dataset_id is None else select(Model).where(Model.dataset_id == dataset_id)
    return _in_order_of_creation(session, Model, wanted, limit, after)


def images(
    session: Session,
    dataset_id: str,
    limit: int,
    after: int,
    *,
    labels: Sequence[str] | None = None,
    unlabelled: bool = False,
    newest_first: bool = False,
) -> Page[tuple[Image, str | None]]:
    """A dataset's images with their labels, by id.

    Args:
        after: the id of the last image of the page before; 0 for the first page.
        labels: only those that have one of these.
        unlabelled: those without a label beside them.

    Raises:
        DatasetNotFound: no such dataset.
    """
    one_dataset.get(session, dataset_id)
    wanted = select(Image, Label.label).outerjoin(Label, Label.image_id == Image.id).where(Image.dataset_id == dataset_id)
    if labels is not None or unlabelled:
        chosen = Label.label.in_([text for each in labels or [] if (text := label_text(each))])
        wanted = wanted.where(chosen | Label.label.is_(None) if unlabelled else chosen)
    position = (after,) if after else None
    rows = session.execute(keyset.following(wanted, (Image.id,), position, limit, newest_first=newest_first)).all()
    return keyset.page([(image, label) for image, label in rows], limit, lambda row: row[0].id)


def rejections(session: Session, dataset_id: str, limit: int, after: int, job_id: str | None) -> Page[Rejection]:
    """The files that are not in a dataset, perhaps only those of one upload.

    Raises:
        DatasetNotFound: no such dataset.
    """
    one_dataset.get(session, dataset_id)
    wanted = select(Rejection).where(Rejection.dataset_id == dataset_id)
    if job_id is not None:
        wanted = wanted.where(Rejection.job_id == job_id)
    position = (after,) if after else None
    rows = session.scalars(keyset.following(wanted, (Rejection.id,), position, limit)).all()
    return keyset.page(rows, limit, lambda row: row.id)


@dataclass(frozen=True)
class Unlisted:
    """Refused files of one upload and reason that are counted and not listed, since they were many."""

    job_id: str
    code: str
    count: int


def unlisted(session: Session, dataset_id: str, job_id: str | None) -> list[Unlisted]:
    """The refused files that ``rejections`` does not list, by upload and reason, perhaps only those of one upload."""
    wanted = select(Job.id, Job.unlisted).where(Job.dataset_id == dataset_id, Job.unlisted.is_not(null())).order_by(Job.seq)
    if job_id is not None:
        wanted = wanted.where(Job.id == job_id)
    rows = session.execute(wanted.limit(_UPLOADS)).all()
    return [Unlisted(id_, code, count) for id_, counts in rows for code, count in sorted((counts or {}).items())]


def attention(session: Session, model_id: str, limit: int, after: int) -> Page[Attention]:
    """The images that have maps under a model, by id.

    Raises:
        ModelNotFound: no such model.
    """
    published.get(session, model_id)
    position = (after,) if after else None
    wanted = keyset.following(select(Attention).where(Attention.model_id == model_id), (Attention.image_id,), position, limit)
    return keyset.page(session.scalars(wanted).all(), limit, lambda row: row.image_id)


def _in_order_of_creation(
    session: Session,
    table: type[Created],
    wanted: Select[Created],
    limit: int,
    after: str | None,
    heavy: Sequence[InstrumentedAttribute[Any]] = (),
) -> Page[Created]:
    last = None if after is None else keyset.row_after(session, table, after)
    position = None if last is None else (last.created_at, last.id)
    page = keyset.following(wanted, (table.created_at, table.id), position, limit)
    limit = keyset.fitting(session, page, heavy, limit) if heavy else limit
    return keyset.page(session.scalars(page.limit(limit + 1)).all(), limit, lambda row: row.id)
