"""what black and white are in a dataset's deep images, what its validation noticed, and labels in the form in which they are
compared"""

import sqlalchemy as sa
from alembic import op

from core.label_text import label_text

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("datasets", sa.Column("depths", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("datasets", sa.Column("noticed", sa.JSON(), nullable=False, server_default="{}"))
    _compare_labels()


def _compare_labels() -> None:
    labels = sa.table("labels", sa.column("label", sa.Text()))
    connection = op.get_bind()
    changed = False
    for (old,) in connection.execute(sa.select(labels.c.label).distinct()).all():
        new = label_text(old)
        if new is None:
            connection.execute(labels.delete().where(labels.c.label == old))
        elif new != old:
            connection.execute(labels.update().where(labels.c.label == old).values(label=new))
        changed = changed or new != old
    if changed:
        connection.execute(
            sa.text(
                "UPDATE datasets SET generation = generation + 1, label_generation = label_generation + 1, classes = ("
                "SELECT count(DISTINCT labels.label) FROM labels JOIN images ON images.id = labels.image_id "
                "WHERE images.dataset_id = datasets.id)"
            )
        )


def downgrade() -> None:
    op.drop_column("datasets", "noticed")
    op.drop_column("datasets", "depths")
