"""images know whether they are grey; what was validated before does not"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("images", sa.Column("grey", sa.Boolean()))


def downgrade() -> None:
    op.drop_column("images", "grey")
