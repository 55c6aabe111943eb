"""Skipped runs, and what a later run needs to know of a version to decide whether anything has changed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("snapshots", sa.Column("recipe", sa.Text(), comment="digest of all that decides it but its inputs"))
    op.add_column(
        "snapshots",
        sa.Column(
            "deterministic",
            sa.Boolean(),
            nullable=False,
            server_default=sa.false(),
            comment="the same recipe and inputs give it again",
        ),
    )
    op.add_column("snapshots", sa.Column("content", sa.Text(), comment="digest of its rows, once one was needed"))
    op.add_column("runs", sa.Column("skipped_reason", sa.Text(), comment="why its query did not run"))
    op.create_index(
        "ix_runs_unskipped",
        "runs",
        ["saved_query_id", "started_at"],
        unique=False,
        postgresql_where=sa.text("status <> 'Skipped'"),
    )
    op.add_column(
        "saved_queries",
        sa.Column(
            "data_as_of", sa.DateTime(timezone=True), comment="the moment for which its result is known to be right"
        ),
    )
    op.execute(
        "UPDATE saved_queries SET data_as_of = runs.started_at FROM snapshots JOIN runs ON runs.id = snapshots.run_id"
        " WHERE snapshots.id = saved_queries.current_snapshot_id"
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("saved_queries", "data_as_of")
    op.drop_index("ix_runs_unskipped", table_name="runs")
    op.drop_column("runs", "skipped_reason")
    for name in ("content", "deterministic", "recipe"):
        op.drop_column("snapshots", name)
