"""what black and white are in a dataset's deep images, what its validation noticed, and labels in the form in which they are
compared"""

import sqlalchemy as sa
from alembic import op

from core.ground.label_text import label_text

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_BATCH = 1000  # labels at once


def upgrade() -> None:
    op.add_column("datasets", sa.Column("depths", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("datasets", sa.Column("noticed", sa.JSON(), nullable=False, server_default="{}"))
    _compare_labels()


def _compare_labels() -> None:
    labels = sa.table("labels", sa.column("image_id", sa.BigInteger()), sa.column("label", sa.Text()))
    images = sa.table("images", sa.column("id", sa.BigInteger()), sa.column("dataset_id", sa.Text()))
    connection = op.get_bind()
    forms = {old: label_text(old) for old in connection.scalars(sa.select(labels.c.label).distinct())}
    if all(old == new for old, new in forms.items()):
        return
    rows = connection.execute(sa.select(labels.c.image_id, labels.c.label))
    changed = [{"image": id_, "form": forms[old]} for id_, old in rows if forms[old] != old]
    one = labels.c.image_id == sa.bindparam("image")  # by its key: a look through all labels for each of thousands takes hours
    datasets: set[str] = set()
    for start in range(0, len(changed), _BATCH):
        some = changed[start : start + _BATCH]
        kept, empty = [row for row in some if row["form"]], [row for row in some if not row["form"]]
        if kept:
            connection.execute(labels.update().where(one).values(label=sa.bindparam("form")), kept)
        if empty:
            connection.execute(labels.delete().where(one), [{"image": row["image"]} for row in empty])
        named = sa.select(images.c.dataset_id).where(images.c.id.in_([row["image"] for row in some])).distinct()
        datasets.update(connection.scalars(named))
    count = sa.text(
        "UPDATE datasets SET generation = generation + 1, label_generation = label_generation + 1, classes = ("
        "SELECT count(DISTINCT labels.label) FROM labels JOIN images ON images.id = labels.image_id "
        "WHERE images.dataset_id = datasets.id) WHERE id = :dataset"
    )
    connection.execute(count, [{"dataset": id_} for id_ in sorted(datasets)])


def downgrade() -> None:
    op.drop_column("datasets", "noticed")
    op.drop_column("datasets", "depths")
