"""The ``embed`` job: images that the dataset's current model was not trained on, embedded by it."""

import os

from PIL.Image import Image as Pixels
from sqlalchemy import insert, select

from core.collections import compaction, datasets, deletions, embedding
from core.files import manifest
from core.files.shards import read_range
from core.ground.folders import ModelFile
from core.ground.pictures import imaging
from core.ground.pictures.depths import Depths
from core.jobs import lifecycle
from core.jobs.context import JobContext
from core.search.encoder import Encoder
from core.store.db import BATCH
from core.store.locks import lock_dataset
from core.store.tables import Dataset, Embedding, Image, Model

_BATCH = 64  # images that are encoded together


def embed(context: JobContext) -> None:
    """Embed what the current model lacks, in the order of ids; every thousand images become searchable at once.

    Raises:
        Stopped: cancelled, lost, or the worker is shutting down.
        StaleAttempt: the job has another owner.
    """
    with context.db.read() as session:
        dataset_id = lifecycle.get(session, context.job_id).dataset_id
    deletions.forget_unfinished(context, dataset_id)
    with context.db.read() as session:
        dataset = datasets.get(session, dataset_id)
        model = session.get(Model, dataset.model_id) if dataset.model_id else None
        after = embedding.last_embedded(session, context.settings, model) if model else 0
    done = 0
    folder = context.layout.model(model.directory) if model else None
    encoder = Encoder(folder / ModelFile.ENCODER, os.cpu_count() or 1) if folder else None
    depths = manifest.read(folder).get("preprocessing", {}).get("depths", {}) if folder else {}
    while model is not None and encoder is not None:
        later = select(Image).where(Image.dataset_id == dataset.id, Image.id > after).order_by(Image.id).limit(BATCH)
        with context.db.read() as session:
            images = session.scalars(later).all()
        if not images:
            break
        vectors: dict[int, bytes] = {}
        for start in range(0, len(images), _BATCH):
            context.go_on()
            batch = images[start : start + _BATCH]
            rows = encoder(_decoded(context, image, depths) for image in batch)  # one at a time: a large one takes hundreds of MB
            vectors.update(zip((image.id for image in batch), (row.tobytes() for row in rows), strict=True))
        after, done = images[-1].id, done + len(images)
        with context.write(progress={"images": done}) as session:
            lock_dataset(session, dataset.id)
            current = select(Dataset.model_id).where(Dataset.id == dataset.id)
            if session.scalar(current) != model.id:  # moving the alias has queued a job for the other one
                break
            live = session.scalars(select(Image.id).where(Image.id.in_(vectors)).with_for_update(read=True)).all()
            added = [{"model_id": model.id, "image_id": id_, "vector": vectors[id_]} for id_ in live]
            if added:
                session.execute(insert(Embedding), added)
            datasets.update_and_invalidate(session, dataset.id)
    with context.succeed(model_id=model.id if model else None):
        pass
    compaction.request_if_due(context.db, context.settings, dataset.id)


def _decoded(context: JobContext, image: Image, depths: Depths) -> Pixels:
    data = read_range(context.layout.file(image.shard), image.offset, image.length)
    return imaging.decode(data, max(context.settings.max_pixels, image.width * image.height), depths)
