"""Copies of tables of databases, and the pins that keep them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "source_copies",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("source_table_id", sa.Uuid(), nullable=False),
        sa.Column("generation_id", sa.Uuid(), nullable=False, comment="that makes it, or made it"),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("columns", postgresql.JSONB(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("file", postgresql.JSONB(), nullable=True, comment="null: it is being made, as all below"),
        sa.Column("content", sa.Text(), nullable=True, comment="digest of its rows"),
        sa.Column("read_at", moment, nullable=True, comment="by the clock of the database"),
        sa.Column("superseded_at", moment, nullable=True, comment="when there was a newer one"),
        sa.Column("removed_at", moment, nullable=True, comment="when it was found to be needed no more"),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_source_copies_project_id")),
        sa.ForeignKeyConstraint(
            ["source_table_id"], ["source_tables.id"], name=op.f("fk_source_copies_source_table_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source_copies")),
    )
    op.create_index(op.f("ix_source_copies_source_table_id"), "source_copies", ["source_table_id"])
    op.add_column("source_pins", sa.Column("copy_id", sa.Uuid(), nullable=True, comment="of a table of a database"))
    op.create_foreign_key(op.f("fk_source_pins_copy_id"), "source_pins", "source_copies", ["copy_id"], ["id"])
    op.create_index(op.f("ix_source_pins_copy_id"), "source_pins", ["copy_id"])


def downgrade() -> None:
    """Undo."""
    op.drop_index(op.f("ix_source_pins_copy_id"), "source_pins")
    op.drop_constraint(op.f("fk_source_pins_copy_id"), "source_pins")
    op.drop_column("source_pins", "copy_id")
    op.drop_table("source_copies")
