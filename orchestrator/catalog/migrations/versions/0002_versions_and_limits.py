"""Versions that can be rolled back to and expire, leases of what runs read, limits of projects."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "projects",
        sa.Column(
            "limits",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="what its queries may use; null: what the worker allows",
        ),
    )
    op.add_column(
        "saved_queries",
        sa.Column(
            "resumed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when a person last resumed the schedule; forgives failures",
        ),
    )
    op.add_column("snapshots", sa.Column("published_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "UPDATE snapshots SET published_at = coalesce(runs.finished_at, snapshots.created_at) "
        "FROM runs WHERE runs.id = snapshots.run_id"
    )
    op.alter_column("snapshots", "published_at", nullable=False, server_default=sa.text("clock_timestamp()"))
    op.add_column(
        "snapshots",
        sa.Column(
            "superseded_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="since when it is not the current one; null: it is",
        ),
    )
    op.add_column(
        "snapshots",
        sa.Column(
            "removed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="since when its files may be deleted; nobody may choose it",
        ),
    )
    op.add_column(
        "snapshots",
        sa.Column("pinned", sa.Boolean(), server_default=sa.false(), nullable=False, comment="kept whatever its age"),
    )
    # Until now nothing recorded when a snapshot was replaced; the moment of the migration gives its readers their time.
    op.execute(
        "UPDATE snapshots SET superseded_at = now() WHERE id NOT IN "
        "(SELECT current_snapshot_id FROM saved_queries WHERE current_snapshot_id IS NOT NULL)"
    )
    op.create_index(
        "ix_snapshots_kept",
        "snapshots",
        ["saved_query_id", "published_at"],
        unique=False,
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_index(
        "ix_runs_running", "runs", ["started_at"], unique=False, postgresql_where=sa.text("status = 'Running'")
    )
    op.create_table(
        "leases",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("snapshot_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_leases_run_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshots.id"], name=op.f("fk_leases_snapshot_id")),
        sa.PrimaryKeyConstraint("run_id", "snapshot_id", name=op.f("pk_leases")),
    )
    op.create_index(op.f("ix_leases_snapshot_id"), "leases", ["snapshot_id"], unique=False)


def downgrade() -> None:
    """Take back."""
    op.drop_index(op.f("ix_leases_snapshot_id"), table_name="leases")
    op.drop_table("leases")
    op.drop_index("ix_runs_running", table_name="runs")
    op.drop_index("ix_snapshots_kept", table_name="snapshots")
    for table, column in (
        ("snapshots", "pinned"),
        ("snapshots", "removed_at"),
        ("snapshots", "superseded_at"),
        ("snapshots", "published_at"),
        ("saved_queries", "resumed_at"),
        ("projects", "limits"),
    ):
        op.drop_column(table, column)
