"""From a finished run to a published model: index, manifest, rename, and one transaction that makes it current."""

import json
import shutil

import numpy as np
from sqlalchemy import select

from core.collections import datasets, embedding
from core.errors import StaleAttempt
from core.files import artifacts, manifest, texts
from core.files.layout import attempt_name
from core.ground.folders import ModelFile, RunFolder
from core.ground.reports import Evaluation
from core.jobs import lifecycle
from core.jobs.context import JobContext
from core.search import index
from core.store.columns import new_id, now
from core.store.tables import Image, Model
from worker.training.inputs import listed_depths
from worker.training.relay import Relay


def _discard_unpublished(context: JobContext) -> None:
    """Delete folders of a job's earlier attempts that were renamed into place but never got their row.

    Raises:
        StaleAttempt: the job has another owner.
    """
    folders = context.layout.model_folders(context.job_id)
    with context.write():  # no other attempt can have published one of the folders seen
        pass
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def publish(context: JobContext, run: RunFolder, evaluation: Evaluation | None, relay: Relay) -> None:
    """Publish ``run.model`` as ``models/<job>-<attempt>`` and point the dataset's alias at it.

    Readers see the model only through its row. With an evaluation the job ends with success; without one it goes on, to judge
    the model (``add_evaluation``).

    Raises:
        StaleAttempt: the job has another owner or was cancelled; nothing is published.
    """
    _discard_unpublished(context)
    staged = run.model
    embeddings = np.load(staged / ModelFile.EMBEDDINGS)
    relay.enter("indexing")
    built = index.build(embeddings, staged / ModelFile.INDEX, context.settings.index)
    relay.enter("publishing")
    with context.db.read() as session:
        job = lifecycle.get(session, context.job_id)
        path_of = dict(session.execute(select(Image.id, Image.path).where(Image.dataset_id == job.dataset_id)).all())
    ids = np.load(staged / ModelFile.IDS).tolist()
    texts.write(staged / ModelFile.PATHS, [path_of.get(id_, "") for id_ in ids])  # "": deleted while the model was trained
    model_id = new_id("mdl")
    config = json.loads(run.config.read_text())
    size = config["image_size"]
    manifest.write(
        staged,
        {
            "model_id": model_id,
            "job_id": job.id,
            "attempt": context.attempt,
            "dataset_id": job.dataset_id,
            "method": config["method"],
            "config": config,
            "round": evaluation["published_round"] if evaluation else config["rounds"] - 1,
            "images": len(embeddings),
            "dim": int(embeddings.shape[1]),
            "preprocessing": {
                "orientation": "EXIF applied",
                "colour": "sRGB by the file's profile, alpha composited on white",
                "depths": listed_depths(run.images),
                "resize": f"shorter side to {size}, bicubic",
                "crop": f"centre {size} x {size}",
                "input": f"uint8 (batch, {size}, {size}, 3)",
            },
            "metric": "cosine (inner product of unit vectors)",
            "index": vars(built),
            "evaluation": evaluation,
        },
    )
    directory = attempt_name(job.id, context.attempt)
    final = context.layout.model(directory)
    artifacts.publish(staged, final)
    artifacts.sync_tree(run.path)  # what the model's attention and further rounds are made from
    whole = {"model_id": model_id, "evaluation": evaluation}
    try:
        with context.succeed(**whole, **relay.ending()) if evaluation else context.publish(model_id) as session:
            session.add(
                Model(
                    id=model_id,
                    dataset_id=job.dataset_id,
                    job_id=job.id,
                    attempt=context.attempt,
                    directory=directory,
                    images=len(embeddings),
                    dim=int(embeddings.shape[1]),
                    created_at=now(),
                )
            )
            session.flush()
            datasets.update_and_invalidate(session, job.dataset_id, model_id=model_id)
            embedding.request(session, job.dataset_id, known=max(ids))
    except StaleAttempt:
        shutil.rmtree(final, ignore_errors=True)
        raise


def add_evaluation(context: JobContext, model: Model, evaluation: Evaluation, relay: Relay) -> None:
    """End the job, whose model is published, with success and what was found of the model.

    Raises:
        StaleAttempt: as ``publish``.
    """
    manifest.add_evaluation(context.layout.model(model.directory), evaluation)
    with context.succeed(evaluation=evaluation, **relay.ending()):
        pass
