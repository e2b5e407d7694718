"""images name the upload's validation that added them, where a part of their shard's path did"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_BEFORE = "datasets/"  # in a shard's path, then the dataset's id, "/", the id of the job that wrote it, "-", its attempt
_ID = 20  # characters of a job's id


def upgrade() -> None:
    op.add_column("images", sa.Column("job_id", sa.Text()))
    images = sa.table("images", *(sa.column(name, sa.Text()) for name in ("dataset_id", "job_id", "shard")))
    begins = sa.func.length(images.c.dataset_id) + len(_BEFORE) + 2
    connection = op.get_bind()
    connection.execute(images.update().values(job_id=sa.func.substr(images.c.shard, begins, _ID)))
    _require(connection)
    op.create_index(op.f("ix_images_job_id"), "images", ["job_id"])
    _name_uploads(connection, images)


def _require(connection: sa.Connection) -> None:
    if connection.dialect.name != "sqlite":
        op.alter_column("images", "job_id", nullable=False)
        return
    given = connection.scalar(sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'images'"))
    with op.batch_alter_table("images", table_kwargs={"sqlite_autoincrement": True}) as table:
        table.alter_column("job_id", nullable=False)
    if given is not None:  # a table that is made anew forgets which ids it has given
        connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = 'images'"))
        connection.execute(sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES ('images', :given)"), {"given": given})


def _name_uploads(connection: sa.Connection, images: sa.TableClause) -> None:
    """Images whose shard a compaction wrote were added by an upload that succeeded; which one of several is not known any
    more, and nothing asks for it but for whether it succeeded. They get the dataset's first."""
    jobs = sa.table(
        "jobs",
        sa.column("seq", sa.BigInteger()),
        *(sa.column(name, sa.Text()) for name in ("id", "dataset_id", "kind", "status")),
    )
    succeeded = sa.select(jobs.c.dataset_id, jobs.c.id).where(jobs.c.kind == "ingest", jobs.c.status == "succeeded")
    first = dict(connection.execute(succeeded.order_by(jobs.c.seq.desc())).all())  # the last of equal keys stays
    compactions = connection.execute(sa.select(jobs.c.dataset_id, jobs.c.id).where(jobs.c.kind == "compact")).all()
    of_one = (images.c.dataset_id == sa.bindparam("dataset")) & (images.c.job_id == sa.bindparam("compaction"))
    moved = [{"dataset": ds, "compaction": id_, "upload": first[ds]} for ds, id_ in compactions if ds in first]
    if moved:
        connection.execute(images.update().where(of_one).values(job_id=sa.bindparam("upload")), moved)


def downgrade() -> None:
    op.drop_index(op.f("ix_images_job_id"), "images")
    op.drop_column("images", "job_id")  # in place, as above
