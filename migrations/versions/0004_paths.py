"""images by their paths"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_images_path"), "images", ["path"], postgresql_using="hash")


def downgrade() -> None:
    op.drop_index(op.f("ix_images_path"), "images")
