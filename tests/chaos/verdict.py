"""What was promised, compared with the rows, the files and the API's answers."""

import hashlib
from collections import Counter
from typing import Any

from sqlalchemy import select

from core.files import manifest
from core.files.manifest import DamagedModel
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobKind, JobStatus
from core.store.tables import Dataset, Job, JobEvent, Metric, Model
from tests.chaos.client import IMAGES, Client
from tests.live import TINY, Running

_ENDS = ("succeeded", "failed", "cancelled")
_EPOCHS = [(0, 0), (1, 0)]
assert (TINY["rounds"], TINY["epochs_first"], TINY["epochs"]) == (2, 1, 1)


def judge(system: Running, client: Client) -> tuple[dict[str, Any], list[str]]:
    """Figures, and a line for every promise that was broken."""
    settings = Settings.model_validate(system.settings)
    db = Database(settings.database)
    with db.read() as session:
        jobs = {job.id: job for job in session.scalars(select(Job))}
        datasets = session.scalars(select(Dataset)).all()
        models = session.scalars(select(Model)).all()
        events: dict[str, list[JobEvent]] = {id_: [] for id_ in jobs}
        for event in session.scalars(select(JobEvent).order_by(JobEvent.job_id, JobEvent.seq)):
            events[event.job_id].append(event)
        metrics = {(metric.job_id, metric.round, metric.epoch) for metric in session.scalars(select(Metric))}
    db.dispose()
    broken = list(client.complaints)

    accepted = {sent.job_id for sent in client.sent}
    lost = [id_ for id_ in accepted if id_ not in jobs or jobs[id_].status != JobStatus.SUCCEEDED]
    broken += [f"lost: {id_}: {_end(jobs.get(id_))}" for id_ in lost]
    training = {id_ for id_, job in jobs.items() if job.kind == JobKind.TRAIN}
    models_of = Counter(model.job_id for model in models)
    ends_of = {id_: sum(event.type in _ENDS for event in listed) for id_, listed in events.items()}
    doubled = [f"{id_} was submitted once and is there besides" for id_ in training - accepted]
    doubled += [f"{id_} has {models_of[id_]} models" for id_ in training if models_of[id_] > 1]
    doubled += [f"{id_} ended {count} times" for id_, count in ends_of.items() if count > 1]
    broken += [f"doubled: {what}" for what in doubled]
    for id_, job in jobs.items():
        broken += [f"{id_}: {what}" for what in _wrong_events(job, events[id_], metrics)]
        if job.status != JobStatus.SUCCEEDED and id_ not in accepted:
            broken.append(f"{job.kind} {_end(job)}")
    broken += [f"{id_} succeeded without a model" for id_ in accepted - set(lost) if not models_of[id_]]

    torn = []
    for model in models:
        try:
            content = manifest.read(settings.root / "models" / model.directory, hashes=True)
            job = jobs[model.job_id]
            expected = (model.id, job.id, model.attempt, model.dataset_id, IMAGES)
            found = tuple(content[name] for name in ("model_id", "job_id", "attempt", "dataset_id", "images"))
            if found != expected or job.status != JobStatus.SUCCEEDED or job.model_id != model.id:
                raise DamagedModel(f"its manifest says {found}, its rows {expected} and {job.status}")
        except DamagedModel as error:
            torn.append(model.id)
            broken.append(f"torn: {model.id}: {error}")

    whole = 0
    missing = {sent.dataset_id for sent in client.sent} - {dataset.id for dataset in datasets}
    broken += [f"dataset {id_} was accepted and is gone" for id_ in missing]
    for dataset in datasets:
        wrong = _wrong_dataset(dataset, client)
        whole += not wrong
        broken += [f"dataset {dataset.id} ({dataset.name}): {what}" for what in wrong]
    return {
        "jobs": len(accepted),
        "succeeded": len(accepted) - len(lost),
        "lost": len(lost),
        "doubled": len(doubled),
        "torn_models": len(torn),
        "datasets": len(datasets) + len(missing),
        "datasets_whole": whole,
        "attempts": sum(job.attempt for job in jobs.values()),
    }, broken


def _end(job: Job | None) -> str:
    return f"{job.id} is {job.status}, attempt {job.attempt}: {job.error}" if job else "there is no such row"


def _wrong_events(job: Job, events: list[JobEvent], metrics: set[tuple[str, int, int]]) -> list[str]:
    wrong = []
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        wrong.append("its events have gaps")
    types = [event.type for event in events]
    if sum(type_ in _ENDS for type_ in types) != 1 or types[-1] != job.status:
        wrong.append(f"its events do not end once: {types}")
    if [event.data["attempt"] for event in events if event.type == "running"] != list(range(1, job.attempt + 1)):
        wrong.append(f"its attempts are not 1 to {job.attempt}: {types}")
    if job.kind == JobKind.TRAIN and job.status == JobStatus.SUCCEEDED:
        told = [(event.data["round"], event.data["epoch"]) for event in events if event.type == "epoch"]
        if told != _EPOCHS or any((job.id, *epoch) not in metrics for epoch in _EPOCHS):
            wrong.append(f"its epochs were told as {told}")
    return wrong


def _wrong_dataset(dataset: Dataset, client: Client) -> list[str]:
    """How the images differ from what was sent under this name, as anybody can download them."""
    sent = client.files.get(dataset.name)
    if sent is None:
        return ["nobody sent it"]
    page = client.get(f"/datasets/{dataset.id}/images?limit=1000")
    stored = {image["path"]: hashlib.sha256(client.content(image["id"])).hexdigest() for image in page["data"]}
    wrong = [] if dataset.status == "ready" else [f"is {dataset.status}: {dataset.error}"]
    if stored != sent or len(page["data"]) != dataset.images:
        wrong.append(f"{dataset.images} images, {len(stored)} listed, of {len(sent)} that were sent")
    return wrong
