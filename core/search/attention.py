"""Attention maps, which show where the encoders of a model's rounds look in its images: files
``attention/<model>/<job>-<attempt>/maps.npz``, and a row for each image that names its file. Such a file never changes; the row
is deleted with its model, its image or the image's neighbour."""

from collections.abc import Sequence
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.collections import datasets, images, published
from core.errors import AttentionNotFound, BadQuery, NoCheckpoints, NoModel
from core.files.manifest import DamagedModel
from core.ground.folders import RunFolder
from core.jobs import lifecycle
from core.search.searcher import View
from core.search.snapshots import Snapshot
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobKind
from core.store.tables import Attention, Image, Job, Model

_NAMED = 5  # images that an error names


@dataclass(frozen=True)
class Maps:
    """Of one image: at the end of each of R rounds the cosine similarity to its neighbour, and float32 maps (R, h, w) in
    0..1 over the centre crop that the encoder sees."""

    rounds: list[int]
    similarities: list[float]
    maps: NDArray[np.float32]


def run_folder(settings: Settings, model: Model) -> RunFolder:
    """The folder of the run that made a model."""
    return settings.layout.run(model.job_id, model.attempt)


def request(session: Session, settings: Settings, view: View, image_ids: Sequence[int]) -> Job:
    """Queue a job that computes the maps of some of the images that a model has embedded.

    Raises:
        ModelNotFound: the model was deleted meanwhile.
        BadQuery: the model has no embedding of one of the images, or of no other image.
        NoCheckpoints: those of the model's rounds are gone.
    """
    datasets.get_for_job(session, view.dataset_id)
    model = published.get(session, view.model_id)
    wanted = sorted(set(image_ids))
    if unknown := [id_ for id_ in wanted if view.snapshot.row(id_) is None]:
        listed = ", ".join(map(str, unknown[:_NAMED]))
        raise BadQuery(f"image_ids: {len(unknown)} of {len(wanted)} are no images that {model.id} has embedded: {listed}")
    if len(view.snapshot.live) < 2:
        raise BadQuery(f"{model.id} has embedded no other image to be the neighbour")
    if not any(run_folder(settings, model).checkpoints.glob("*.pt")):
        raise NoCheckpoints(f"the checkpoints of {model.id} are gone, and with them the encoders of its rounds")
    return lifecycle.create(session, JobKind.ATTENTION, model.dataset_id, params={"model_id": model.id, "image_ids": wanted})


def neighbour_of(snapshot: Snapshot, image_id: int) -> int | None:
    """The image that an image was last trained towards, or if there is none the nearest other one."""
    row, learned = snapshot.row(image_id), snapshot.provenance(image_id)
    if row is None:
        return None
    if learned and learned["neighbours"]:
        return int(learned["neighbours"][0])
    others = [other for other in snapshot.nearest(snapshot.vector(row), 2)[0].tolist() if other != row]
    return int(snapshot.ids[others[0]]) if others else None


def get(session: Session, model_id: str, image_id: int) -> Attention:
    """Raises ``AttentionNotFound`` where none was computed."""
    row = session.get(Attention, (model_id, image_id))
    if row is None:
        raise AttentionNotFound(f"of image {image_id} and {model_id}; POST /models/{model_id}/attention computes one")
    return row


def find(db: Database, image_id: int, model_id: str | None) -> tuple[Image, Attention]:
    """An image and the row of its maps under a model, by default the current one of its dataset.

    Raises:
        ImageNotFound, ModelNotFound: no such image or model.
        NoModel: the dataset has no model yet.
        BadQuery: the model is one of another dataset.
        AttentionNotFound: none was computed.
    """
    with db.read() as session:
        image = images.get(session, image_id)
        if model_id is None:
            model_id = datasets.get(session, image.dataset_id).model_id
        if model_id is None:
            raise NoModel(f"{image.dataset_id} has no model yet; train one with POST /jobs")
        published.get(session, model_id, image.dataset_id)
        return image, get(session, model_id, image_id)


def missing(session: Session, model_id: str, image_ids: Sequence[int]) -> list[int]:
    """Those of the images that have no maps, in the same order."""
    known = select(Attention.image_id).where(Attention.model_id == model_id, Attention.image_id.in_(image_ids))
    have = set(session.scalars(known))
    return [id_ for id_ in image_ids if id_ not in have]


def read(settings: Settings, row: Attention) -> Maps:
    """The maps that a row names.

    Raises:
        AttentionNotFound: it was deleted meanwhile.
        DamagedModel: the file cannot be read.
    """
    path = settings.layout.maps(row.model_id, row.directory)
    try:
        with open(path, "rb") as opened, np.load(opened) as file:
            rounds, similarities, maps = (file[name] for name in ("rounds", "similarities", "maps"))
        return Maps(rounds.tolist(), similarities[row.position].tolist(), maps[row.position])
    except FileNotFoundError as error:
        raise AttentionNotFound(f"of image {row.image_id} and {row.model_id} any more") from error
    except (OSError, EOFError, ValueError, KeyError, IndexError, BadZipFile) as error:
        raise DamagedModel(f"{path}: {error}") from error
