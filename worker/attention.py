"""The ``attention`` job: where the encoders of a model's rounds look in some of its images."""

import json
import shutil
from pathlib import Path

from sqlalchemy import select

from core.collections import published
from core.errors import DomainError, ModelNotFound
from core.files import artifacts
from core.files.layout import attempt_name
from core.ground.folders import MAPS
from core.jobs import lifecycle
from core.jobs.context import JobContext
from core.search import attention
from core.search.searcher import Searcher
from core.store.locks import lock_dataset
from core.store.tables import Attention, Image, Model
from worker.training.inputs import write_images
from worker.training.supervision import supervise

Pair = tuple[int, int]


def compute_maps(context: JobContext) -> None:
    """Compute those of the requested maps that are missing, and publish them as ``attention/<model>/<job>-<attempt>``.

    Raises:
        ModelNotFound: the model was deleted.
        BadParameters: the checkpoints of its rounds are gone.
        TrainerError: the trainer crashed.
        Stopped: cancelled, lost, or the worker is shutting down.
        StaleAttempt: the job has another owner.
    """
    with context.db.read() as session:
        job = lifecycle.get(session, context.job_id)
        model = published.get(session, job.params["model_id"])
        wanted = attention.missing(session, model.id, job.params["image_ids"])
    snapshot = Searcher(context.settings, context.db).view(model_id=model.id).snapshot
    pairs = [(id_, other) for id_ in wanted if (other := attention.neighbour_of(snapshot, id_)) is not None]
    home = context.layout.job(job.id)
    run = context.layout.run(job.id, context.attempt)
    artifacts.fresh_folder(run.path)
    listed = run.images
    named = sorted({id_ for pair in pairs for id_ in pair})
    write_images(context, job.dataset_id, listed, named, depths=snapshot.model.depths)
    live = {json.loads(line)["id"] for line in listed.read_text(encoding="utf-8").splitlines()}
    pairs = [pair for pair in pairs if live.issuperset(pair)]  # others were deleted meanwhile
    staged = artifacts.fresh_folder(run.maps)
    if pairs:
        config = {"run": str(attention.run_folder(context.settings, model).path), "data": str(listed), "pairs": pairs}
        run.command("attention").write_text(json.dumps(config, indent=2, allow_nan=False))
        command = ["attention", "--config", str(run.command("attention")), "--out", str(staged / MAPS)]
        supervise(context, run, [*command, "--device", context.settings.device])
    _publish(context, model, staged, pairs)
    shutil.rmtree(home, ignore_errors=True)


def _publish(context: JobContext, model: Model, staged: Path, pairs: list[Pair]) -> None:
    """Readers see the maps only through their rows, which appear together with the job's success."""
    model_id = model.id
    directory = attempt_name(context.job_id, context.attempt)
    final = context.layout.maps(model_id, directory).parent
    if pairs:
        artifacts.publish(staged, final)
    try:
        with context.succeed(model_id=model_id) as session:
            lock_dataset(session, model.dataset_id)
            if session.get(Model, model_id, with_for_update=True) is None:  # one job at a time adds rows to a model
                raise ModelNotFound(model_id)
            ids = {id_ for pair in pairs for id_ in pair}
            live = set(session.scalars(select(Image.id).where(Image.id.in_(ids)).with_for_update(read=True)))
            fresh = set(attention.missing(session, model_id, [image_id for image_id, _ in pairs]))
            for position, (image_id, other) in enumerate(pairs):
                if image_id in fresh and live.issuperset((image_id, other)):
                    session.add(
                        Attention(
                            model_id=model_id, image_id=image_id, neighbour_id=other, directory=directory, position=position
                        )
                    )
    except DomainError:
        shutil.rmtree(final, ignore_errors=True)
        raise
