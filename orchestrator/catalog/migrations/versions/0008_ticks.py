"""The ticks of schedules, which gather into generations, and how fresh a view is to be."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "ticks",
        sa.Column("id", sa.Uuid(), nullable=False, comment="the run id of its workflow"),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("saved_query_id", sa.Uuid(), nullable=False),
        sa.Column("scheduled_for", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("generation_id", sa.Uuid(), comment="null: it waits for other ticks"),
        sa.ForeignKeyConstraint(["generation_id"], ["generations.id"], name=op.f("fk_ticks_generation_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_ticks_project_id")),
        sa.ForeignKeyConstraint(["saved_query_id"], ["saved_queries.id"], name=op.f("fk_ticks_saved_query_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ticks")),
    )
    op.create_index(op.f("ix_ticks_project_id"), "ticks", ["project_id"])
    op.create_index(op.f("ix_ticks_generation_id"), "ticks", ["generation_id"])
    op.add_column("saved_queries", sa.Column("freshness", sa.Text(), server_default="clock", nullable=False))
    op.add_column(
        "saved_queries",
        sa.Column(
            "max_staleness",
            sa.Text(),
            comment="how old the data of what it reads may be, as a frequency; null: not at all",
        ),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_column("saved_queries", "max_staleness")
    op.drop_column("saved_queries", "freshness")
    op.drop_table("ticks")
