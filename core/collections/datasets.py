"""Datasets as rows and files: create, find, delete."""

import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from sqlalchemy import ColumnElement, CursorResult, ScalarSelect, delete, distinct, func, select, update
from sqlalchemy.orm import Session

from core.errors import BadRequest, DatasetInUse, DatasetNotFound, DatasetNotReady
from core.files import layout
from core.jobs import lifecycle
from core.jobs.uses import uses, uses_of_unfinished
from core.settings import Settings
from core.store import visible
from core.store.columns import new_id, now
from core.store.db import BATCH, Database
from core.store.kinds import DatasetStatus, JobKind, JobStatus
from core.store.locks import lock_dataset
from core.store.tables import Dataset, Image, Job, Label, Model, Rejection

LABEL_MODES = ("none", "folders")


def upload_path(settings: Settings, upload: str) -> Path:
    """Where an upload lies until it is validated; one that makes a dataset is named by the dataset's id."""
    return settings.layout.upload(upload)


def delete_upload(settings: Settings, job: Job) -> None:
    """Delete the file that a job was to validate, if that is what it was for."""
    if upload := uses(job).upload:
        upload_path(settings, upload).unlink(missing_ok=True)


def create(
    session: Session,
    dataset_id: str,
    name: str,
    labels: str,
    size: int = 0,
    source: dict[str, str] | None = None,
    metadata: dict[str, Any] | None = None,
) -> Dataset:
    """Insert a dataset and the job that validates its images, which are complete on disk.

    Args:
        source: what the job reads: ``{"upload": name}`` (by default the dataset's id) or ``{"folder": path}``.
        metadata: the client's notes on it.

    Raises:
        BadRequest: ``labels`` is not a known mode.
    """
    if labels not in LABEL_MODES:
        raise BadRequest(f"labels: {labels!r} is not one of {', '.join(LABEL_MODES)}")
    dataset = Dataset(id=dataset_id, name=name, status=DatasetStatus.VALIDATING, labels=labels, bytes=size, created_at=now())
    dataset.dataset_metadata = metadata or {}
    session.add(dataset)
    session.flush()
    lifecycle.create(session, JobKind.INGEST, dataset_id, params=source or {"upload": dataset_id})
    return dataset


def add(session: Session, dataset_id: str, source: dict[str, str]) -> Job:
    """Queue the validation of further images of a dataset.

    Args:
        source: ``{"upload": name, "filename": path of a single image}`` or ``{"folder": path}``.

    Raises:
        DatasetNotFound: no such dataset.
        DatasetNotReady: it failed validation.
    """
    dataset = get_for_job(session, dataset_id)
    if dataset.status == DatasetStatus.FAILED:
        raise DatasetNotReady(f"{dataset_id} failed validation: {(dataset.error or {}).get('message')}")
    return lifecycle.create(session, JobKind.INGEST, dataset_id, params={**source, "adds": True})


def _import_roots(settings: Settings) -> list[Path]:
    return [Path(root).resolve() for root in re.split(":(?=/|$)", settings.import_roots) if root]  # a name may hold a colon


def import_root(settings: Settings, folder: Path) -> Path:
    """The root that a folder without links in its path lies in.

    Raises:
        BadRequest: it lies in none.
    """
    if root := next((root for root in _import_roots(settings) if folder.is_relative_to(root)), None):
        return root
    raise BadRequest("uri: is not in a folder that may be imported")


def import_folder(settings: Settings, uri: str) -> Path:
    """The folder of this machine that a URI (or an absolute path) names.

    Raises:
        BadRequest: no folder below one of those that ``ANCHORHOOD_IMPORT_ROOTS`` allows.
    """
    if not _import_roots(settings):
        raise BadRequest("uri: folders of the server cannot be imported; ANCHORHOOD_IMPORT_ROOTS names those that may")
    with suppress(OSError, RuntimeError):  # too long a name, a loop of links, a folder that may not be looked into
        resolved = Path(_path_of(uri)).resolve()  # links are followed before the comparison, so that none leads out
        import_root(settings, resolved)
        if resolved.is_dir():
            return resolved
    raise BadRequest("uri: there is no such folder")


def _path_of(uri: str) -> str:
    if uri.startswith("/"):
        path = uri
    else:
        try:
            parts = urlsplit(uri)
        except ValueError as error:
            raise BadRequest("uri: must be file:///path/of/a/folder") from error
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            raise BadRequest("uri: must be file:///path/of/a/folder")
        if re.search(r"[?#\t\r\n]", uri):  # what follows would be cut off, and another folder be meant
            raise BadRequest("uri: ? and # in a path are %3F and %23 in a file: URL, a tab and a new line %09 and %0A")
        path = unquote(parts.path, errors="surrogateescape")
    if "\0" in path or not path.startswith("/"):
        raise BadRequest("uri: must be file:///path/of/a/folder")
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise BadRequest("uri: a folder whose name is not UTF-8 cannot be imported; rename it") from error
    return path


def new_dataset_id() -> str:
    """A fresh id, needed before the row so that the upload can be stored under it. Raises ``NotAllowed`` for a limited key."""
    visible.require_all()
    return new_id("ds")


def get(session: Session, dataset_id: str) -> Dataset:
    """Raises ``DatasetNotFound``."""
    if (dataset := session.get(Dataset, dataset_id)) is None:
        raise DatasetNotFound(dataset_id)
    return dataset


def update_description(
    session: Session, dataset_id: str, *, name: str | None = None, metadata: dict[str, Any] | None = None
) -> Dataset:
    """Change a dataset's name and the client's notes on it, each where it is given; no answer of a search depends on them.

    Raises:
        DatasetNotFound: no such dataset.
    """
    columns: dict[str, object] = {"name": name, "dataset_metadata": metadata}
    values = {column: value for column, value in columns.items() if value is not None}
    if values:
        session.execute(
            update(Dataset).where(Dataset.id == dataset_id).values(values).execution_options(synchronize_session=False)
        )
    return get(session, dataset_id)


def get_for_job(session: Session, dataset_id: str) -> Dataset:
    """A dataset for a new job: until the transaction ends nobody can delete it or fail its validation.

    Raises:
        DatasetNotFound: no such dataset.
    """
    dataset = session.get(Dataset, dataset_id, with_for_update={"read": True}, populate_existing=True)
    if dataset is None:
        raise DatasetNotFound(dataset_id)
    return dataset


def remove(db: Database, settings: Settings, dataset_id: str) -> None:
    """Delete a dataset with its images, jobs, models and files.

    Its rows go in small transactions, so that a large dataset does not keep writers out; from the first one on it is
    marked as failed, has no model to answer from, and no job can be created on it.

    Raises:
        DatasetNotFound: no such dataset.
        DatasetInUse: an unfinished job needs it.
    """
    with db.write() as session:
        get(session, dataset_id)
        deleting = {"code": "deleted", "message": "it is being deleted"}
        update_and_invalidate(session, dataset_id, status=DatasetStatus.FAILED, error=deleting, model_id=None)
        _require_unused(session, dataset_id)
        of_it = delete(Model).where(Model.dataset_id == dataset_id).returning(Model.id, Model.directory)
        models = session.execute(of_it).all()
    for table in (Image, Rejection):
        while _delete_batch(db, table, dataset_id):
            pass
    with db.write() as session:
        jobs_of_it = session.scalars(select(Job).where(Job.dataset_id == dataset_id)).all()
        session.execute(update(Job).where(Job.evaluation_dataset_id == dataset_id).values(evaluation_dataset_id=None))
        session.execute(delete(Dataset).where(Dataset.id == dataset_id))
    model_folders = list(settings.layout.models.iterdir())
    folders = [folder for _, directory in models for folder in layout.folders_of_model(model_folders, directory)]
    folders += [settings.layout.attention_of(model_id) for model_id, _ in models]
    folders += [settings.layout.job(job.id) for job in jobs_of_it]
    for folder in [*folders, settings.layout.dataset(dataset_id), settings.layout.thumbnails_of(dataset_id)]:
        shutil.rmtree(folder, ignore_errors=True)
    for job in jobs_of_it:
        delete_upload(settings, job)


def _require_unused(session: Session, dataset_id: str) -> None:
    models = set(session.scalars(select(Model.id).where(Model.dataset_id == dataset_id)))
    for job_id, needed in uses_of_unfinished(session).items():
        if dataset_id in needed.datasets or needed.starts_from in models:
            raise DatasetInUse(f"{dataset_id} is needed by {job_id}; cancel that job or wait for it")


def _delete_batch(db: Database, table: type[Image] | type[Rejection], dataset_id: str) -> int:
    with db.write() as session:
        lock_dataset(session, dataset_id)
        batch = select(table.id).where(table.dataset_id == dataset_id).limit(BATCH)
        return int(cast("CursorResult[object]", session.execute(delete(table).where(table.id.in_(batch)))).rowcount)


def is_validated_image(dataset_id: str) -> ColumnElement[bool]:
    """The condition that an image is in a dataset, and not of an upload whose validation is unfinished or failed."""
    unsuccessful_uploads = select(Job.id).where(
        Job.dataset_id == dataset_id, Job.kind == JobKind.INGEST, Job.status != JobStatus.SUCCEEDED
    )
    return (Image.dataset_id == dataset_id) & Image.job_id.not_in(unsuccessful_uploads)


def class_count(dataset_id: str) -> ScalarSelect[int]:
    """The number of different labels in a dataset, as a subquery."""
    labelled = select(func.count(distinct(Label.label))).join(Image, Image.id == Label.image_id)
    return labelled.where(Image.dataset_id == dataset_id).scalar_subquery()


def update_and_invalidate(session: Session, dataset_id: str, *, labels: bool = False, **values: object) -> None:
    """Update columns of a dataset's row, and raise its generation, so that every process reads its images anew.

    Args:
        labels: whether its labels have changed, too.
    """
    values["generation"] = Dataset.generation + 1
    if labels:
        values |= {"label_generation": Dataset.label_generation + 1, "classes": class_count(dataset_id)}
    session.execute(update(Dataset).where(Dataset.id == dataset_id).values(values).execution_options(synchronize_session=False))
