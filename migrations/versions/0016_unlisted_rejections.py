"""of many files that were refused for one reason the first are listed, the others counted with the job"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("unlisted", sa.JSON()))


def downgrade() -> None:
    op.drop_column("jobs", "unlisted")
