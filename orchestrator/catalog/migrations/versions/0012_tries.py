"""Edits that are tried before they are saved."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    json, moment = postgresql.JSONB(), sa.DateTime(timezone=True)
    op.create_table(
        "tries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("saved_query_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("query", json, nullable=False, comment="as the client sent it"),
        sa.Column("revision_id", sa.Uuid(), nullable=False),
        sa.Column("base_revision_id", sa.Uuid(), nullable=False, comment="what the edit started from"),
        sa.Column("base_snapshot_id", sa.Uuid(), comment="the version that was current then; null: none"),
        sa.Column("plan", json, nullable=False, comment="its text, and its inputs as they were then"),
        sa.Column(
            "attempt", sa.Integer(), server_default="0", nullable=False, comment="which attempt may record a result"
        ),
        sa.Column("snapshot", json, comment="what was written and sealed"),
        sa.Column("error", sa.Text()),
        sa.Column("error_code", sa.Text()),
        sa.Column("workflow_run_id", sa.Uuid(), comment="null: it has not begun"),
        sa.Column("created_by", sa.Integer(), nullable=False),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", moment),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("removed_at", moment, comment="since when no client sees it, and its files may be deleted"),
        sa.CheckConstraint(
            "(status = 'Running') = (finished_at IS NULL)", name=op.f("ck_tries_finished_unless_running")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_tries_project_id")),
        sa.ForeignKeyConstraint(["saved_query_id"], ["saved_queries.id"], name=op.f("fk_tries_saved_query_id")),
        sa.ForeignKeyConstraint(["base_revision_id"], ["revisions.id"], name=op.f("fk_tries_base_revision_id")),
        sa.ForeignKeyConstraint(["base_snapshot_id"], ["snapshots.id"], name=op.f("fk_tries_base_snapshot_id")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_tries_created_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tries")),
    )
    op.create_index(op.f("ix_tries_project_id_created_at"), "tries", ["project_id", "created_at"])
    op.create_index(op.f("ix_tries_saved_query_id"), "tries", ["saved_query_id"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("tries")
