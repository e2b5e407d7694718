"""images that are added or deleted later"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "deletions",
        sa.Column("image_id", _ID, autoincrement=False, nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_deletions_dataset_id_datasets"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_deletions")),
    )
    op.create_index(op.f("ix_deletions_dataset_id"), "deletions", ["dataset_id"])
    op.create_table(
        "embeddings",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("image_id", _ID, nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_embeddings_model_id_models"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_embeddings_image_id_images"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("model_id", "image_id", name=op.f("pk_embeddings")),
    )
    op.create_index(op.f("ix_embeddings_image_id"), "embeddings", ["image_id"])
    op.add_column("rejections", sa.Column("job_id", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("rejections", table_kwargs={"sqlite_autoincrement": True}) as table:
        table.drop_column("job_id")
    op.drop_table("embeddings")
    op.drop_table("deletions")
