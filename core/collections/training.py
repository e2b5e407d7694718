"""What a training job requires of its datasets and of the weights that it starts from. Datasets that are ready are checked when
the job is made, the others when their validation ends."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased

from core.collections import datasets
from core.errors import BadParameters, DomainError, TooFewImages
from core.files import manifest
from core.ground import parameters
from core.ground.methods import METHODS, too_grey
from core.jobs import lifecycle
from core.jobs.uses import works_on
from core.settings import Settings
from core.store.kinds import UNFINISHED, DatasetStatus, JobKind, JobStatus
from core.store.tables import Dataset, Image, Job, Model

_LEAST_NEIGHBOURS = 1  # of every preset; where they are chosen by the number of images, these are enough


def require(session: Session, dataset_id: str, evaluation_dataset_id: str | None, params: dict[str, Any]) -> None:
    """Refuse now what the trainer would refuse only after the job has waited for it. Datasets of which an upload is still being
    validated are checked later, by ``fail_unfit``.

    Raises:
        TooFewImages: fewer images than training with these parameters needs.
        BadParameters: the method cannot learn from these images, or every image of the evaluation dataset is also trained on.
    """
    if not _is_validated(session, dataset_id):
        return
    require_images(session, dataset_id, params)
    if evaluation_dataset_id and _is_validated(session, evaluation_dataset_id):
        require_new_images(session, dataset_id, evaluation_dataset_id)


def require_images(session: Session, dataset_id: str, params: dict[str, Any]) -> None:
    """Refuse images that are too few for the parameters, or from which the method cannot learn.

    Raises:
        TooFewImages: too few.
        BadParameters: the method needs labels or colours, and there are none.
    """
    dataset = datasets.get(session, dataset_id)
    images = dataset.images
    neighbours, clusters = int(params.get("neighbours") or _LEAST_NEIGHBOURS), int(params.get("clusters") or 0)
    reason = parameters.too_few_images(images, neighbours, clusters)
    if reason:
        raise TooFewImages(f"{dataset_id}: {reason}")
    method = str(params.get("method", "and"))
    facts = METHODS[method]
    if facts.reads_labels and dataset.classes < 2:
        raise BadParameters(
            f"method: {method} learns from labels of two classes or more, and {dataset_id} has {dataset.classes or 'none'};"
            " upload it with labels, or label its images"
        )
    if facts.needs_colour:
        known = select(func.count()).where(datasets.is_validated_image(dataset_id), Image.grey.is_(True))
        grey = int(session.scalar(known) or 0)
        if reason := too_grey(method, grey, images):
            raise BadParameters(f"{dataset_id}: {reason}")


def require_new_images(session: Session, dataset_id: str, evaluation_dataset_id: str) -> None:
    """Raises ``BadParameters`` where every held-out image is trained on, too."""
    known = select(Image.sha256).where(Image.dataset_id == dataset_id)
    new = select(Image.id).where(datasets.is_validated_image(evaluation_dataset_id), Image.sha256.not_in(known)).limit(1)
    if session.scalar(new) is None:
        raise BadParameters("evaluation_dataset_id: every image of it is in the dataset to train on, too")


def fail_unfit(session: Session, dataset_id: str) -> None:
    """Fail the queued training jobs that wait for nothing but a worker, and need more than a dataset has; called in the
    transaction that ends a validation."""
    earlier = aliased(Job)
    uploads = (earlier.kind == JobKind.INGEST) & earlier.status.in_(UNFINISHED) & (earlier.dataset_id == Job.dataset_id)
    waiting = select(Job).where(works_on(dataset_id), Job.kind == JobKind.TRAIN, Job.status == JobStatus.QUEUED, Job.attempt == 0)
    waiting = waiting.where(Job.continues.is_(None))  # what goes on keeps its images and labels
    waiting = waiting.where(~exists().where(uploads, earlier.seq < Job.seq)).join(Dataset, Dataset.id == Job.dataset_id)
    for job in session.scalars(waiting.where(Dataset.status == DatasetStatus.READY)).all():
        try:
            require_images(session, job.dataset_id, job.params)
            if job.evaluation_dataset_id and _is_validated(session, job.evaluation_dataset_id):
                require_new_images(session, job.dataset_id, job.evaluation_dataset_id)
        except DomainError as error:
            lifecycle.fail_queued(session, job.id, {"code": error.code, "message": str(error)})


def _is_validated(session: Session, dataset_id: str) -> bool:
    """Whether a dataset is ready and no upload to it is unfinished."""
    uploads = select(Job.id).where(Job.dataset_id == dataset_id, Job.kind == JobKind.INGEST, Job.status.in_(UNFINISHED))
    return datasets.get(session, dataset_id).status == DatasetStatus.READY and session.scalar(uploads.limit(1)) is None


def imagenet_backbone(params: Mapping[str, Any]) -> str:
    """The backbone that ImageNet's weights are loaded into."""
    adapts = params.get("preset") in (None, *parameters.ADAPTING)
    return str(params.get("backbone") or ("efficientnet_lite0" if adapts else "resnet18"))


def learned_by(session: Session, settings: Settings, init: str | None) -> Mapping[str, Any] | None:
    """The configuration by which the model that ``init`` names was trained, where there is one whose manifest tells; reads a
    file."""
    model = session.get(Model, init) if init and init.startswith("mdl_") else None
    if model is None:
        return None
    try:
        config: Mapping[str, Any] = manifest.read(settings.layout.model(model.directory))["config"]
        return config if "backbone" in config else None
    except (manifest.DamagedModel, KeyError):
        return None


def require_init(session: Session, params: Mapping[str, Any], learned: Mapping[str, Any] | None, prefix: str = "") -> None:
    """Refuse weights to start from that cannot be had or do not fit.

    Args:
        params: the parameters that were given.
        learned: what ``learned_by`` says of their ``init``.
        prefix: put before a parameter's name where it is refused.

    Raises:
        BadParameters: ``init`` names a model that is not there or sees images otherwise, or the weights that it needs are not
            installed.
    """
    init = str(params.get("init", ""))
    if init == "imagenet" and imagenet_backbone(params) == "efficientnet_lite0" and parameters.weights_file() is None:
        raise BadParameters(f"{prefix}init: {parameters.WEIGHTS_MISSING}")
    if init.startswith("mdl_") and session.get(Model, init) is None:
        raise BadParameters(f"{prefix}init: there is no model {init}")
    if learned is None:
        return
    if learned.get("method") == "splitbrain":
        raise BadParameters(
            f"{prefix}init: {init} is a network of two halves (method splitbrain), which nothing else starts from"
        )
    if learned.get("sobel", False) != params.get("sobel", False):
        sees = "edges" if learned.get("sobel") else "colours"
        raise BadParameters(f"{prefix}init: {init} sees {sees}; start from it with method deepcluster and sobel as it has it")
    backbone = learned["backbone"]
    if params.get("backbone", backbone) != backbone:
        raise BadParameters(
            f"{prefix}backbone: {params['backbone']} cannot start from {init}, whose backbone is {backbone}; leave backbone out"
        )
