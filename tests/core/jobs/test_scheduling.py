"""Which job may run when, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import update

from core.jobs import lifecycle, protocol, scheduling
from core.jobs.protocol import Claim
from core.store.db import Database
from core.store.kinds import DatasetStatus, JobKind, JobStatus, Queue
from core.store.tables import Dataset
from tests.core.jobs.made import claimed, make_dataset, make_job


def test_oldest_job_first_and_each_once(db: Database) -> None:
    make_dataset(db)
    first, second = make_job(db), make_job(db)
    assert [claimed(db).job_id, claimed(db).job_id] == [first, second]
    assert protocol.claim(db, Queue.TRAINING, "w") is None


def test_training_waits_for_both_datasets(db: Database) -> None:
    make_dataset(db, "ds_1", DatasetStatus.VALIDATING)
    make_dataset(db, "ds_2", DatasetStatus.VALIDATING)
    make_job(db, "ds_1", evaluation="ds_2")
    for ready in ("ds_1", "ds_2"):
        assert protocol.claim(db, Queue.TRAINING, "w") is None
        with db.write() as session:
            session.execute(update(Dataset).where(Dataset.id == ready).values(status=DatasetStatus.READY))
    assert protocol.claim(db, Queue.TRAINING, "w") is not None


def end(db: Database, owner: Claim) -> None:
    with db.write() as session:
        protocol.finish(session, owner, JobStatus.SUCCEEDED)


def test_one_job_at_a_time_changes_a_dataset(db: Database) -> None:
    make_dataset(db, "ds_1")
    make_dataset(db, "ds_2")
    expected = {make_job(db, dataset, kind) for dataset in ("ds_1", "ds_2") for kind in scheduling.WRITERS * 2}
    running: dict[str, int] = {"ds_1": 0, "ds_2": 0}

    def drain(name: str) -> list[str]:
        mine = []
        while len(mine) < len(expected) and (protocol.has_claimable_job(db, Queue.TASKS) or any(running.values())):
            if owner := protocol.claim(db, Queue.TASKS, name):
                with db.read() as session:
                    dataset = lifecycle.get(session, owner.job_id).dataset_id
                running[dataset] += 1
                assert running[dataset] == 1
                running[dataset] -= 1
                end(db, owner)
                mine.append(owner.job_id)
        return mine

    with ThreadPoolExecutor(4) as pool:
        taken = [job for part in pool.map(drain, "abcd") for job in part]
    assert len(taken) == len(expected) and set(taken) == expected


def test_training_waits_for_what_was_uploaded_before_it(db: Database) -> None:
    make_dataset(db)
    before, train, after = make_job(db, kind=JobKind.INGEST), make_job(db), make_job(db, kind=JobKind.INGEST)
    assert protocol.claim(db, Queue.TRAINING, "w") is None
    owner = claimed(db, Queue.TASKS)
    assert owner.job_id == before
    assert protocol.claim(db, Queue.TRAINING, "w") is None
    end(db, owner)
    assert claimed(db).job_id == train
    assert claimed(db, Queue.TASKS).job_id == after


def test_compaction_waits_for_training_that_has_begun(db: Database) -> None:
    make_dataset(db, "ds_1")
    make_dataset(db, "ds_2")
    make_job(db, "ds_2", evaluation="ds_1")
    compact = make_job(db, kind=JobKind.COMPACT)
    training = claimed(db)
    assert protocol.claim(db, Queue.TASKS, "w") is None
    protocol.release(db, training)  # it resumes, with the list of images that it has
    assert protocol.claim(db, Queue.TASKS, "w") is None
    end(db, claimed(db))
    assert claimed(db, Queue.TASKS).job_id == compact
