"""The ``compact`` job: shards without the files of deleted images, and the current model's files with what was added and
without what was deleted since it was trained."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np
from sqlalchemy import CursorResult, bindparam, delete, func, select, update

from core.collections import datasets, deletions, embedding
from core.errors import StaleAttempt
from core.files import artifacts, manifest, texts
from core.files.layout import folders_of_model, merged_name
from core.files.shards import ShardWriter, read_range
from core.ground.folders import ModelFile
from core.ground.pictures.formats import EXTENSION_OF
from core.jobs import lifecycle
from core.jobs.context import JobContext
from core.jobs.uses import shards_are_read, uses_of_unfinished
from core.search import index
from core.search.open_models import OpenModel
from core.search.ranking import Rows
from core.search.snapshots import Labels, Snapshot
from core.store.db import BATCH
from core.store.kinds import JobKind
from core.store.locks import lock_dataset
from core.store.tables import Embedding, Image, Model

_BLOCK = 512  # of a tar file
_PLACED_BY = 5  # neighbours whose positions on the map place an image that was added


def compact(context: JobContext) -> None:
    """Write anew what holds deleted images, switch to it, and delete the old files unless a training job reads them.

    Raises:
        Stopped: cancelled, lost, or the worker is shutting down.
        StaleAttempt: the job has another owner.
    """
    with context.db.read() as session:
        dataset_id = lifecycle.get(session, context.job_id).dataset_id
    deletions.forget_unfinished(context, dataset_id)
    deletions.forget_compacted(context, dataset_id)
    _rewrite_shards(context, dataset_id)
    run = context.layout.run(context.job_id, context.attempt)
    artifacts.fresh_folder(run.path)
    try:
        _merge(context, dataset_id, run.model)
    finally:
        shutil.rmtree(run.path, ignore_errors=True)
        with suppress(OSError):  # another attempt is at work
            run.path.parent.rmdir()
    _delete_old_models(context, dataset_id)
    needed = _delete_old_shards(context, dataset_id)
    with context.succeed() as session:
        if needed:
            lifecycle.create(session, JobKind.COMPACT, dataset_id)  # to be claimed when that training is over


def _rewrite_shards(context: JobContext, dataset_id: str) -> None:
    """Copy the live images out of every shard that also holds deleted ones. A row is moved when its copy is on the disk."""
    padded = func.sum((Image.length + _BLOCK - 1) // _BLOCK * _BLOCK + _BLOCK)
    with context.db.read() as session:
        live = session.execute(select(Image.shard, padded).where(Image.dataset_id == dataset_id).group_by(Image.shard)).all()
    loose = [shard for shard, size in live if context.layout.file(shard).stat().st_size > int(size) + 2 * _BLOCK]
    if not loose:
        return
    folder = context.layout.shards(dataset_id, context.job_id, context.attempt)
    writer = ShardWriter(folder)
    moving = update(Image).where(Image.id == bindparam("image"), Image.shard == bindparam("old"))
    moving = moving.values(shard=bindparam("new"), offset=bindparam("at"))
    try:
        for shard in sorted(loose):
            with context.db.read() as session:
                images = session.scalars(select(Image).where(Image.dataset_id == dataset_id, Image.shard == shard)).all()
            moves: list[dict[str, object]] = []
            for image in sorted(images, key=lambda image: image.offset):
                context.go_on()
                data = read_range(context.layout.file(shard), image.offset, image.length)
                name, offset = writer.add(f"{image.sha256}.{EXTENSION_OF[image.media_type]}", data)
                new = context.layout.relative(folder / name)
                moves.append({"image": image.id, "old": shard, "new": new, "at": offset})
            writer.sync()
            for start in range(0, len(moves), BATCH):
                with context.write() as session:
                    lock_dataset(session, dataset_id)
                    session.connection().execute(moving, moves[start : start + BATCH])
    finally:
        writer.close()


def _merge(context: JobContext, dataset_id: str, staged: Path) -> None:
    """Publish the current model's folder anew: the same training, with a row for each live image."""
    with context.db.read() as session:
        dataset = datasets.get(session, dataset_id)
        model = session.get(Model, dataset.model_id) if dataset.model_id else None
        if model is None:
            return
        opened = OpenModel(context.layout.model(model.directory))
        snapshot = Snapshot(session, opened, model.id, dataset_id, Labels.read(session, dataset_id))
    rows = snapshot.live
    if not len(rows) or len(rows) == len(opened.ids) == len(snapshot.ids):
        return
    staged.mkdir()
    old = context.layout.model(model.directory)
    built = _write_rows(snapshot, rows, staged, context.settings.index)
    content = manifest.read(old)
    for name in content.pop("files"):
        if not (staged / name).exists():
            os.link(old / name, staged / name)
    del content["schema_version"]
    content |= {"images": len(rows), "index": vars(built)}
    manifest.write(staged, content)
    context.go_on()
    directory = merged_name(model.directory, context.job_id, context.attempt)
    final = context.layout.model(directory)
    artifacts.publish(staged, final)
    try:
        with context.write() as session:
            datasets.update_and_invalidate(session, dataset_id)
            moved = session.execute(update(Model).where(Model.id == model.id).values(directory=directory, images=len(rows)))
    except StaleAttempt:
        shutil.rmtree(final, ignore_errors=True)
        raise
    if not cast("CursorResult[object]", moved).rowcount:  # the model was deleted meanwhile
        shutil.rmtree(final, ignore_errors=True)


def _delete_old_models(context: JobContext, dataset_id: str) -> None:
    """Delete what merging has replaced, now or in an attempt that did not get so far: folders, and embeddings in the database.

    A folder stays while a job starts from its weights.
    """
    model_folders = list(context.layout.models.iterdir())
    with context.db.read() as session:
        models = session.scalars(select(Model).where(Model.dataset_id == dataset_id)).all()
        begun_from = {needed.starts_from for needed in uses_of_unfinished(session).values()}
    _require_ownership(context)
    for model in models:
        for folder in folders_of_model(model_folders, model.directory):
            if folder.name != model.directory and model.id not in begun_from:
                shutil.rmtree(folder, ignore_errors=True)
        with suppress(FileNotFoundError):  # the model was deleted meanwhile, and its embeddings with it
            last = int(embedding.published_ids(context.settings, model).max())
            while _delete_merged(context, model, last):
                pass


def _delete_merged(context: JobContext, model: Model, last: int) -> int:
    merged = select(Embedding.image_id).where(Embedding.model_id == model.id, Embedding.image_id <= last).limit(BATCH)
    with context.write() as session:
        lock_dataset(session, model.dataset_id)
        batch = session.scalars(merged).all()
        session.execute(delete(Embedding).where(Embedding.model_id == model.id, Embedding.image_id.in_(batch)))
    return len(batch)


def _require_ownership(context: JobContext) -> None:
    """Make sure, before files are deleted that no row named, that this job still owns the dataset: then no other job is about to
    name one of them."""
    with context.write():
        pass


def _delete_old_shards(context: JobContext, dataset_id: str) -> bool:
    """Delete the shards that no row names; returns whether they stay, since a training job may be reading them."""
    folders = context.layout.shard_folders(dataset_id)
    shards = list(context.layout.shard_files(dataset_id))
    with context.db.read() as session:
        named = set(session.scalars(select(Image.shard).where(Image.dataset_id == dataset_id).distinct()))
        shards_in_use = shards_are_read(session, dataset_id)
    old = [path for path in shards if context.layout.relative(path) not in named]
    if shards_in_use:
        return bool(old)
    _require_ownership(context)
    for path in old:
        path.unlink(missing_ok=True)
    for folder in folders:
        with suppress(OSError):  # it holds live shards
            folder.rmdir()
    return False


def _write_rows(snapshot: Snapshot, rows: Rows, folder: Path, kind: str) -> index.IndexInfo:
    """The files that have a row for each image. What was added has no provenance: NaN and -1."""
    vectors, base = snapshot.vectors(rows), len(snapshot.model.ids)
    kept, added = rows[rows < base], int((rows >= base).sum())
    np.save(folder / ModelFile.EMBEDDINGS, vectors)
    np.save(folder / ModelFile.IDS, snapshot.ids[rows])
    texts.write(folder / ModelFile.PATHS, (snapshot.describe(row)[0] for row in rows.tolist()))
    learned = snapshot.model.neighbourhoods
    entropy = np.pad(learned["entropy"][:, kept], ((0, 0), (0, added)), constant_values=np.nan)
    anchor_round = np.pad(learned["anchor_round"][kept], (0, added), constant_values=-1)
    neighbours = np.pad(learned["neighbours"][kept], ((0, added), (0, 0)), constant_values=-1)
    np.savez(folder / ModelFile.NEIGHBOURHOODS, entropy=entropy, anchor_round=anchor_round, neighbours=neighbours)
    positions = np.load(snapshot.model.folder / ModelFile.PROJECTION)
    placed = [positions[snapshot.model.nearest(vector, _PLACED_BY)[0]].mean(axis=0) for vector in vectors[len(kept) :]]
    np.save(folder / ModelFile.PROJECTION, np.concatenate([positions[kept], np.array(placed, np.float32).reshape(-1, 2)]))
    return index.build(vectors, folder / ModelFile.INDEX, kind)
