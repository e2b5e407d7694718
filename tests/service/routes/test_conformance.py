"""The API against its own description, by schemathesis: no server error, no status or body that is not documented.

Each operation gets a copy of a system with a published model, on a database of either kind and without a worker, and most of
the generated requests name what is really there.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, assume
from hypothesis import settings as examples
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance
from sqlalchemy import select

from core.ground.folders import MAPS
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobKind
from core.store.tables import Attention, Image, Job
from tests.conftest import image_bytes
from tests.published import Published
from tests.service.serving import copy, pictures, serving

pytestmark = pytest.mark.slow
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
schema = schemathesis.openapi.from_path(Path(__file__).parents[3] / "docs/openapi.json")
real: dict[str, Any] = {}  # names of parameters, and what they may name


@pytest.fixture
def system(published: Published, settings: Settings, db: Database) -> Iterator[httpx.Client]:
    copy(published, settings, db)
    with db.read() as session:
        images = session.scalars(select(Image.id).where(Image.dataset_id == published.dataset)).all()
        ingest = session.scalars(select(Job.id).where(Job.kind == JobKind.INGEST)).first()
    real.update(dataset_id=[published.dataset, published.held_out], evaluation_dataset_id=[published.held_out])
    real.update(job_id=[published.job["id"], ingest], model_id=[published.job["model_id"]], image_id=images[:5])
    real.update(image_ids=[images[:3]], positive=[images[3:5]], negative=[images[:1]], name=["manifest.json", "ids.npy"])
    model = published.job["model_id"]
    (folder := settings.layout.attention / model / "job_0-1").mkdir(parents=True)
    maps, similarities = np.random.default_rng(0).random((5, 2, 8, 8), np.float32), np.ones((5, 2), np.float32)
    np.savez(folder / MAPS, rounds=np.arange(2), maps=maps, similarities=similarities)
    with db.write() as session:
        for at, id_ in enumerate(images[:5]):
            row = {"model_id": model, "image_id": id_, "neighbour_id": images[5], "directory": "job_0-1", "position": at}
            session.add(Attention(**row))
    real.update(round=[0, 1], label=["class-0"], file=[pictures(3), image_bytes(1)])
    with serving(settings, db) as client:
        yield client


def name_real_things(case: schemathesis.Case) -> None:
    """Three in four requests name what is really there, and bring real files."""
    drawn = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode())
    if drawn % 4:
        for given in (case.path_parameters, case.query, case.body):
            for name in set(given) & set(real) if isinstance(given, dict) else ():
                if given[name] is not None:
                    given[name] = real[name][drawn // 4 % len(real[name])]


@schema.parametrize()
@examples(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_documented(case: schemathesis.Case, system: httpx.Client) -> None:
    name_real_things(case)
    # A head beyond 64 KiB is cut without an answer (tests/service/middleware/test_bounds.py); one beyond 8 KiB is answered.
    assume(len(urlencode(case.query or {}, doseq=True)) < 60_000)
    case.call_and_validate(base_url=str(system.base_url), checks=CHECKS, timeout=60)
