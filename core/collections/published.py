"""Published models as rows: list, choose the current one, delete."""

import shutil

from sqlalchemy import delete
from sqlalchemy.orm import Session

from core.collections import datasets, embedding
from core.errors import BadQuery, ModelInUse, ModelNotFound
from core.files.layout import folders_of_model
from core.jobs.uses import uses_of_unfinished
from core.settings import Settings
from core.store import audit
from core.store.db import Database
from core.store.tables import Dataset, Model


def get(session: Session, model_id: str, dataset_id: str | None = None) -> Model:
    """A model, perhaps only if it is one of a dataset.

    Raises:
        ModelNotFound: no such model.
        BadQuery: the model is one of another dataset.
    """
    model = session.get(Model, model_id)
    if model is None:
        raise ModelNotFound(model_id)
    if dataset_id is not None and model.dataset_id != dataset_id:
        raise BadQuery(f"{model_id} is not a model of {dataset_id}")
    return model


def make_current(session: Session, dataset_id: str, model_id: str) -> Dataset:
    """Move a dataset's alias to one of its models, a newer or an older one; answers change from the next request on, and
    images that the model lacks are embedded by a job.

    Raises:
        DatasetNotFound, ModelNotFound: no such dataset or model.
        BadQuery: the model is one of another dataset.
    """
    audit.mention(model_id)
    dataset = datasets.get(session, dataset_id)
    datasets.update_and_invalidate(session, dataset_id, model_id=model_id)  # from here on nobody can delete the model
    get(session, model_id, dataset_id)
    embedding.request(session, dataset_id)
    session.refresh(dataset)
    return dataset


def remove(db: Database, settings: Settings, model_id: str) -> None:
    """Delete a model with its files and the checkpoints of its rounds.

    Raises:
        ModelNotFound: no such model.
        ModelInUse: it is its dataset's current model, or an unfinished job starts from it, works with it
            or goes on from its checkpoints.
    """
    with db.write() as session:
        model = get(session, model_id)
        if datasets.get_for_job(session, model.dataset_id).model_id == model_id:
            raise ModelInUse(f"{model_id} is the current model of {model.dataset_id}; make another one current first")
        for job_id, needed in uses_of_unfinished(session).items():
            if needed.needs_model(model_id) or needed.checkpoints_of == model.job_id:
                raise ModelInUse(f"{job_id} needs {model_id}; cancel that job or wait for it")
        session.execute(delete(Model).where(Model.id == model_id))
    for folder in folders_of_model(settings.layout.models.iterdir(), model.directory):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(settings.layout.attention_of(model_id), ignore_errors=True)
    shutil.rmtree(settings.layout.job(model.job_id), ignore_errors=True)  # the checkpoints that it came from
