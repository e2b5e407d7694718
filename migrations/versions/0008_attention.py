"""attention maps"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "attention",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("image_id", _ID, nullable=False),
        sa.Column("neighbour_id", _ID, nullable=False),
        sa.Column("directory", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_attention_model_id_models"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_attention_image_id_images"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["neighbour_id"], ["images.id"], name=op.f("fk_attention_neighbour_id_images"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_id", "image_id", name=op.f("pk_attention")),
    )
    op.create_index(op.f("ix_attention_image_id"), "attention", ["image_id"])
    op.create_index(op.f("ix_attention_neighbour_id"), "attention", ["neighbour_id"])


def downgrade() -> None:
    op.drop_table("attention")
