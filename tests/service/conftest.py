"""What tests of the service share: the API over a database of their own, and a dataset in it."""

from collections.abc import Iterator

import httpx
import pytest

from core.settings import Settings
from core.store.db import Database
from tests.service.serving import ready_dataset, serving


@pytest.fixture
def api(settings: Settings, db: Database) -> Iterator[httpx.Client]:
    with serving(settings, db) as client:
        yield client


@pytest.fixture
def dataset(settings: Settings, db: Database) -> str:
    return ready_dataset(db, settings)
