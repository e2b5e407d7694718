"""What owners tell of their jobs, on SQLite and on PostgreSQL."""

from sqlalchemy import select

from core.ground import reports
from core.jobs import protocol, reporting
from core.store.db import Database
from core.store.tables import JobEvent, Metric
from tests.core.jobs.made import claimed, make_dataset, make_job
from tests.core.jobs.reported import PROGRESS, STARTED, epoch


def test_events_count_without_gaps_and_a_resume_repeats_nothing(db: Database) -> None:
    make_dataset(db)
    job = make_job(db)
    first = claimed(db)
    unknown: reports.LabelFree = dict.fromkeys(reports.LabelFree.__annotations__)
    ends: list[reports.Event] = [
        {"type": "round", "round": 0, "rounds": 2, **unknown},
        {"type": "warning", "round": 0, "message": "collapsed"},
    ]
    reporting.record_events(db, first, [STARTED, epoch(0, 0), epoch(0, 1), *ends], PROGRESS)
    protocol.abandon(db, first, "test")
    second = claimed(db)
    reporting.record_events(db, second, [STARTED, epoch(0, 0), epoch(0, 1), *ends, epoch(1, 0)], None)
    with db.read() as session:
        rows = session.scalars(select(JobEvent).where(JobEvent.job_id == job).order_by(JobEvent.seq)).all()
        epochs = [(row.data["round"], row.data["epoch"]) for row in rows if row.type == "epoch"]
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        assert epochs == [(0, 0), (0, 1), (1, 0)]
        assert [row.type for row in rows].count("round") == 1
        assert [row.type for row in rows].count("warning") == 1
        assert len(session.scalars(select(Metric)).all()) == 3
