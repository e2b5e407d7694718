"""What the trainer is given: parameters, lists of images, labels for the evaluation, and checkpoints to go on from."""

import json
import os
import shutil
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.collections import continuation, datasets
from core.errors import BadParameters
from core.files import artifacts, manifest
from core.files.layout import staged_folder
from core.ground import durable, finite
from core.ground.folders import ModelFile, RunFolder, checkpoints_of_job
from core.ground.pictures.depths import Depths
from core.jobs.context import JobContext
from core.store.tables import Image, Job, Label, Model

_SHAPE = ("backbone", "image_size", "dim")  # parameters on which the weights of an encoder depend


def bring_checkpoints(context: JobContext, job: Job, home: Path) -> None:
    """Make the folder of an attempt 0 out of the job that this one goes on from, by hard links where possible: its checkpoints,
    configuration, and list of images, at the places where they are now.

    Raises:
        BadParameters: the checkpoints are gone, or one of the images.
    """
    if (home / "0").exists():
        return
    source = context.layout.job(str(job.continues))
    furthest = continuation.newest(source)
    if furthest is None:
        raise BadParameters(f"the checkpoints of {job.continues} are gone")
    staged = RunFolder(artifacts.fresh_folder(staged_folder(home / "0")))
    staged.checkpoints.mkdir()
    shutil.copyfile(RunFolder.of_checkpoint(furthest).config, staged.config)
    if RunFolder.of_checkpoint(furthest).taught.exists():
        shutil.copyfile(RunFolder.of_checkpoint(furthest).taught, staged.taught)
    for _, path in checkpoints_of_job(source):
        target = staged.checkpoints / path.name
        if not target.exists():
            try:
                os.link(path, target)
            except OSError:
                shutil.copyfile(path, target)
    with open(RunFolder.of_checkpoint(furthest).images, encoding="utf-8") as file:
        known = {int(json.loads(line)["id"]) for line in file}
    depths = listed_depths(RunFolder.of_checkpoint(furthest).images)
    if write_images(context, job.dataset_id, staged.images, among=known, depths=depths) < len(known):
        raise BadParameters(f"images that {job.continues} was trained on were deleted; train anew")
    artifacts.publish(staged.path, home / "0")


def trainer_params(context: JobContext, params: dict[str, Any], begun: RunFolder | None) -> dict[str, Any]:
    """The job's parameters as the trainer takes them: the deployment's device, and a model's weights by their file, which is
    read only where training has not begun, with the shape that they have.

    Args:
        begun: the folder of the run that is gone on from, if one is; the model may have been deleted since it began.

    Raises:
        BadParameters: the model is not there, or damaged.
    """
    result = {"device": context.settings.device, **params}
    init = str(params.get("init", ""))
    if init.startswith("mdl_"):
        with context.db.read() as session:
            model = session.get(Model, init)
        folder = context.layout.model(model.directory if model else init)
        result["init"] = str(folder / ModelFile.WEIGHTS)
        if begun:
            shape = finite.loads(begun.config.read_text(encoding="utf-8"))
        elif model is None:
            raise BadParameters(f"init: there is no model {init}")
        else:
            shape = _manifest(folder)["config"]
        for name in _SHAPE:
            if result.get(name) is None:
                result[name] = shape[name]
    return result


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        return manifest.read(folder)
    except manifest.DamagedModel as error:
        raise BadParameters(f"init: {error}") from error


def write_images(
    context: JobContext,
    dataset_id: str,
    path: Path,
    only: Sequence[int] | None = None,
    among: Container[int] | None = None,
    depths: Depths | None = None,
) -> int:
    """Write the list of images for the trainer: byte ranges in shards, without labels and folders.

    Args:
        only: some images, where they are few.
        among: some images, however many.
        depths: black and white of deep images; by default those of the dataset.

    Returns:
        How many were listed.
    """
    temporary = path.with_suffix(".tmp")
    count = 0
    # Relative, so that a run goes on where the data folder was moved or restored.
    root = os.path.relpath(context.settings.root, path.parent)
    with context.db.read() as session, open(temporary, "w", encoding="utf-8") as file:
        if depths is None:
            depths = datasets.get(session, dataset_id).depths
        for image in _images(session, dataset_id, only):
            if among is not None and image.id not in among:
                continue
            count += 1
            entry = {
                "id": image.id,
                "path": image.sha256,
                "file": f"{root}/{image.shard}",
                "offset": image.offset,
                "length": image.length,
                "sha256": image.sha256,
                "width": image.width,
                "height": image.height,
                **({"depths": depths} if depths else {}),
            }
            file.write(json.dumps(entry, allow_nan=False) + "\n")
    durable.replace(temporary, path)
    return count


def listed_depths(listed: Path) -> Depths:
    """The values of black and white of the deep images in a list for the trainer."""
    with open(listed, encoding="utf-8") as file:
        depths: Depths = json.loads(file.readline() or "{}").get("depths", {})
    return depths


def _images(session: Session, dataset_id: str, only: Sequence[int] | None) -> Iterator[Image]:
    conditions = [] if only is None else [Image.id.in_(only)]
    images = (
        select(Image)
        .where(datasets.is_validated_image(dataset_id), *conditions)
        .order_by(Image.id)
        .execution_options(yield_per=1000)
    )
    yield from session.scalars(images)


def write_labels(context: JobContext, dataset_id: str, path: Path) -> str:
    labelled = select(Label.image_id, Label.label).join(Image, Image.id == Label.image_id)
    with context.db.read() as session:
        labels = dict(session.execute(labelled.where(Image.dataset_id == dataset_id)).all())
    durable.write_text(path, json.dumps(labels, allow_nan=False))  # another attempt may find it
    return str(path)
