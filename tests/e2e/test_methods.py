"""A job of every method, from the upload to the first answer, its training process killed once; some on both databases."""

import io
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from PIL import Image

from core.ground.methods import METHODS
from tests.conftest import picture_zip
from tests.live import Live, Running, wait_for
from tests.servers import Postgres, Production, Redis

LEARNING = [name for name, facts in METHODS.items() if facts.trains]
# A training process knows nothing of databases: one method of each kind is enough on the second.
ON_POSTGRES = ("and", "deepcluster", "bigan", "supervised")
PRODUCTION = (pytest.mark.postgres, pytest.mark.redis)
SYSTEMS = [("sqlite", name) for name in LEARNING] + [pytest.param("postgres", name, marks=PRODUCTION) for name in ON_POSTGRES]
# Long enough to be killed within.
PARAMS = {"rounds": 1, "epochs_first": 20, "image_size": 16, "batch_size": 16, "dim": 16}


@pytest.fixture(scope="module")
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp(request.param) / "data"
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield stack.enter_context(closing(Live(folder, checkpoint_seconds=0.2))).start()
        else:
            postgres, broker = (stack.enter_context(closing(server.start())) for server in (Postgres(), Redis()))
            production = Production(folder, postgres.url, broker.url, checkpoint_seconds=0.2, device="cpu")
            production.migrate()
            yield stack.enter_context(closing(production)).start()


@pytest.fixture(scope="module")
def dataset(system: Running, tmp_path_factory: pytest.TempPathFactory) -> str:
    return system.upload(picture_zip(tmp_path_factory.mktemp("pictures") / "pictures.zip", 120))


@pytest.mark.slow
@pytest.mark.parametrize(("system", "method"), SYSTEMS, indirect=["system"])
def test_from_the_upload_to_the_first_answer(system: Running, dataset: str, method: str) -> None:
    job = system.train(dataset, method=method, **PARAMS)
    checkpoints = system.data_dir / "runs" / job / "1" / "checkpoints"
    wait_for(lambda: any(checkpoints.glob("r*.pt")), "a checkpoint", 90)
    if method == "supervised":  # it goes on with the labels that it began with
        changed = {"path": "class-0/0000.png", "label": "class-1"}
        system.client.put(f"/datasets/{dataset}/labels", json=[changed]).raise_for_status()
    (trainer,) = [pid for pid, command in system.processes().items() if "-m trainer run" in command]
    os.kill(trainer, signal.SIGKILL)
    ended = system.finished(job, 180)
    assert (ended["status"], ended["attempt"]) == ("succeeded", 2), ended
    resumed = [event["data"]["resumed_at"] for event in system.events(job) if event["type"] == "started"]
    assert resumed[0] is None and resumed[1] is not None, "it began anew"
    model = system.get(f"/models/{ended['model_id']}")
    assert model["manifest"]["method"] == method
    image = system.get(f"/datasets/{dataset}/images?limit=1")["data"][0]["id"]
    answer = system.get(f"/neighbours?image_id={image}&model_id={ended['model_id']}&k=5")
    assert len(answer["neighbours"]) == 5
    samples = system.client.get(f"/models/{ended['model_id']}/files/samples.png")
    assert samples.status_code == (200 if method == "bigan" else 404)
    if method == "bigan":
        assert Image.open(io.BytesIO(samples.content)).size == (8 * 16, 8 * 16)
