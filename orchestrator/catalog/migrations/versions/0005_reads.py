"""Reads in progress, and the snapshots whose files they keep."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "reads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("client_query_id", sa.Text(), nullable=True, comment="by which the client cancels it"),
        sa.Column("expires_at", moment, nullable=False, comment="renewed while its process lives"),
        sa.Column("cancelled_at", moment, nullable=True, comment="since when its process is to end it"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_reads_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reads")),
    )
    op.create_table(
        "read_leases",
        sa.Column("read_id", sa.Uuid(), nullable=False),
        sa.Column("snapshot_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["read_id"], ["reads.id"], name=op.f("fk_read_leases_read_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshots.id"], name=op.f("fk_read_leases_snapshot_id")),
        sa.PrimaryKeyConstraint("read_id", "snapshot_id", name=op.f("pk_read_leases")),
    )
    op.create_index(op.f("ix_read_leases_snapshot_id"), "read_leases", ["snapshot_id"], unique=False)


def downgrade() -> None:
    """Take back."""
    op.drop_table("read_leases")
    op.drop_table("reads")
