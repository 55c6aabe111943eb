"""Descriptions of the columns of views, and of source tables and their columns."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "column_annotations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("saved_query_id", sa.Uuid()),
        sa.Column("source_table_id", sa.Uuid()),
        sa.Column("column_key", sa.Text(), nullable=False, comment="lower case; empty: the source table itself"),
        sa.Column("column_name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Integer()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "num_nonnulls(saved_query_id, source_table_id) = 1", name=op.f("ck_column_annotations_one_owner")
        ),
        # A view's own description stands beside the view.
        sa.CheckConstraint(
            "column_key <> '' OR saved_query_id IS NULL", name=op.f("ck_column_annotations_column_of_view")
        ),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_column_annotations_created_by")),
        sa.ForeignKeyConstraint(
            ["saved_query_id"],
            ["saved_queries.id"],
            name=op.f("fk_column_annotations_saved_query_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["source_table_id"],
            ["source_tables.id"],
            name=op.f("fk_column_annotations_source_table_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_column_annotations")),
        sa.UniqueConstraint(
            "saved_query_id", "column_key", name=op.f("uq_column_annotations_saved_query_id_column_key")
        ),
        sa.UniqueConstraint(
            "source_table_id", "column_key", name=op.f("uq_column_annotations_source_table_id_column_key")
        ),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("column_annotations")
