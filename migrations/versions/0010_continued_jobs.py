"""jobs that go on from others, and how long the steps of a training took beside what was expected"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("continues", sa.Text()))
    op.add_column("jobs", sa.Column("paces", sa.JSON()))


def downgrade() -> None:
    op.drop_column("jobs", "paces")  # in place: a table that is made anew forgets which ids it has given
    op.drop_column("jobs", "continues")
