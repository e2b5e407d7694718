"""A training that starts from a model: with the shape of its weights, and published only where it is no worse than they were."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import BadParameters
from core.files import manifest
from core.ground import finite
from core.ground.folders import RunFolder
from core.ground.verdict import verdict
from core.jobs import lifecycle, protocol
from core.jobs.context import JobContext
from core.jobs.protocol import Claim
from core.settings import Settings
from core.store.columns import now
from core.store.db import Database
from core.store.kinds import JobKind, JobStatus, Queue
from core.store.tables import Model
from tests.live import TINY
from tests.service.serving import pictures, ready_dataset
from worker.tasks import perform
from worker.training.inputs import trainer_params

CONFIG = {"backbone": "resnet10", "image_size": 16, "dim": 8}


def model_row(db: Database, settings: Settings, folder: Path) -> str:
    """A model that is nothing but its manifest."""
    folder.mkdir(parents=True)
    manifest.write(folder, {"config": CONFIG})
    with db.write() as session:
        job = lifecycle.create(session, JobKind.TRAIN, ready_dataset(db, settings), params={}).id
        row = {"dataset_id": lifecycle.get(session, job).dataset_id, "job_id": job, "attempt": 1, "images": 20, "dim": 8}
        session.add(Model(id="mdl_1", directory=folder.name, created_at=now(), **row))
    return "mdl_1"


def test_weights_of_a_model_bring_their_shape(db: Database, settings: Settings, tmp_path: Path) -> None:
    folder = settings.root / "models" / "job_1-1"
    init = model_row(db, settings, folder)
    context = JobContext(db, settings, Claim("job_2", 1, JobKind.TRAIN))
    params = trainer_params(context, {"init": init, "dim": 4, "image_size": None, "seed": 1}, None)
    weights = str(folder / "encoder.safetensors")
    assert params == {**CONFIG, "device": settings.device, "init": weights, "dim": 4, "seed": 1}
    with pytest.raises(BadParameters, match="init: there is no model mdl_2"):
        trainer_params(context, {"init": "mdl_2"}, None)
    (tmp_path / "config.json").write_text(finite.dumps({**CONFIG, "dim": 32}))
    begun = trainer_params(context, {"init": "mdl_2"}, RunFolder(tmp_path))  # deleted since that training began
    assert {name: begun[name] for name in CONFIG} == {**CONFIG, "dim": 32}
    (folder / "manifest.json").write_text("{")
    with pytest.raises(BadParameters, match=r"init: .*job_1-1"):
        trainer_params(context, {"init": init}, None)
    assert "backbone" not in trainer_params(context, {"init": "imagenet"}, None)


@pytest.mark.slow
@pytest.mark.parametrize("db", ["sqlite"], indirect=True)  # tests/worker/test_label_states.py trains on both
def test_what_is_worse_than_its_start_is_not_published(db: Database, settings: Settings) -> None:
    dataset = ready_dataset(db, settings, pictures(60))

    def trained(**params: Any) -> tuple[dict[str, Any], dict[str, Any], Path]:
        """Evaluation, manifest and folder of a model."""
        with db.write() as session:
            job = lifecycle.create(session, JobKind.TRAIN, dataset, params={"seed": 1, "batch_size": 16, **params}).id
        owner = protocol.claim(db, Queue.TRAINING, "test")
        assert owner is not None and owner.job_id == job
        perform(db, settings, owner)
        with db.read() as session:
            row = lifecycle.get(session, job)
            assert row.status == JobStatus.SUCCEEDED, row.error
            model = session.get(Model, row.model_id)
            assert model is not None and row.evaluation is not None
            folder = settings.root / "models" / model.directory
            return row.evaluation, manifest.read(folder, hashes=True), folder

    judged, told, first = trained(**{**TINY, "rounds": 1})
    assert (judged["published_round"], judged["as_it_was"], told["round"]) == (0, False, 0)
    wrecking = {"rounds": 2, "epochs": 4, "learning_rate_next": 3.0, "backbone_rate": 1.0, "trained_blocks": 100, "crop_size": 16}
    judged, told, second = trained(init=told["model_id"], **wrecking)
    assert judged["change"]["kept_neighbours"] < 0.35  # by far: 6 of 59 by chance
    assert (judged["published_round"], judged["chosen_by"], told["round"], told["config"]["rounds"]) == (0, "neighbours", 0, 2)
    said = verdict(judged)
    assert said is not None and "what is published is the pretrained encoder as it was" in said.sentence
    one, other = (
        dict(zip(np.load(folder / "ids.npy"), np.load(folder / "embeddings.npy"), strict=True)) for folder in (first, second)
    )
    assert one.keys() == other.keys()
    for id_, vector in one.items():
        assert float(vector @ other[id_]) > 0.999
