"""the request that made a job"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("request_id", sa.Text()))


def downgrade() -> None:
    op.drop_column("jobs", "request_id")  # in place: a table that is made anew forgets which ids it has given
