"""What chaos found, each by itself: locks taken the other way round, embeddings that nobody made, a last block without room."""

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete, update

from core.collections import embedding
from core.files import disk
from core.jobs import lifecycle, protocol
from core.search import index
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import DatasetStatus, JobKind, JobStatus, Queue
from core.store.tables import Dataset, Embedding, Job
from tests.core.collections.test_changes import COUNT, DIM, make_model
from tests.core.jobs.made import make_dataset, make_job, status_of


@pytest.mark.parametrize("db", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
def test_a_claim_and_the_failure_of_its_dataset_do_not_lock_each_other_out(db: Database) -> None:
    """``fail_dataset`` locks the dataset and then its queued jobs, a claim a job and then its dataset."""
    dataset = make_dataset(db, status=DatasetStatus.VALIDATING)
    job = make_job(db, dataset, JobKind.INGEST)
    claims: list[object] = []
    claim = threading.Thread(target=lambda: claims.append(protocol.claim(db, Queue.TASKS, "w")))
    with db.write() as session:
        session.execute(update(Dataset).where(Dataset.id == dataset).values(name="locked"))
        claim.start()
        time.sleep(0.5)  # the claim has come as far as it can
        lifecycle.fail_dataset(session, dataset, {"code": "x", "message": "y"})
    claim.join(20)
    assert claims == [None]
    assert status_of(db, job) == JobStatus.FAILED


def test_embedding_that_failed_is_queued_again_and_only_then(db: Database, settings: Settings) -> None:
    vectors = np.eye(DIM, dtype=np.float32)[np.arange(COUNT + 3) % DIM]
    make_model(db, settings, vectors)
    with db.write() as session:
        session.execute(update(Dataset).values(model_id="mdl_1"))
    assert embedding.request_missing(db, settings) == []
    with db.write() as session:
        session.execute(delete(Embedding))
    (job,) = embedding.request_missing(db, settings)
    assert embedding.request_missing(db, settings) == [], "one is enough"
    with db.write() as session:
        session.execute(update(Job).where(Job.id == job).values(status=JobStatus.FAILED))
    assert len(embedding.request_missing(db, settings)) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not permitted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_an_index_without_room_for_its_end_is_an_error(small_disk: Path) -> None:
    count = 126 * 1024 // (4 * 64)
    vectors = np.random.default_rng(0).standard_normal((count, 64)).astype(np.float32)
    index.build(vectors, small_disk / "fits.faiss", "flat")
    size = (small_disk / "fits.faiss").stat().st_size
    (small_disk / "fits.faiss").unlink()
    (small_disk / "ballast").write_bytes(bytes((128 << 10) - size // 4096 * 4096))
    with pytest.raises(OSError, match="No space left") as error:
        index.build(vectors, small_disk / "torn.faiss", "flat")
    assert disk.is_full(small_disk, error.value)
    assert disk.is_full(small_disk, RuntimeError("in words of its own"))
    (small_disk / "ballast").unlink()
    (small_disk / "torn.faiss").unlink()
    assert not disk.is_full(small_disk, RuntimeError("in words of its own"))
