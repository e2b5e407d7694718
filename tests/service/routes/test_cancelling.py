"""Cancelling over HTTP, with a broker that counts."""

import os

import pytest
import redis

from core.settings import Settings
from core.store.db import Database
from core.store.kinds import Queue
from tests.service.serving import ready_dataset, serving

pytestmark = pytest.mark.redis


def test_cancelling_twice_rings_once(db: Database, settings: Settings) -> None:
    dataset = ready_dataset(db, settings)
    url = os.environ["TEST_BROKER_URL"]
    with redis.Redis.from_url(url) as broker, serving(settings.model_copy(update={"broker_url": url}), db) as api:
        try:
            job = api.post("/jobs", json={"dataset_id": dataset}).json()["id"]
            broker.delete(Queue.TASKS)
            for _ in range(2):
                assert api.post(f"/jobs/{job}/cancel").status_code == 202
            assert broker.llen(Queue.TASKS) == 1
        finally:
            broker.delete(*Queue)
