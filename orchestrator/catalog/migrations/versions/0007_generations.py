"""Generations, the right to run a view as an open row, and what the steps of open runs pass to one another."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ENDED = "The run was ended while a new release was installed."


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "generations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("selection", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("publish", sa.Text(), nullable=False, comment="what is published if a member fails"),
        sa.Column("full_refresh", sa.Boolean(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Integer(), comment="null: a schedule, or an operator"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            comment="since when it holds its members; null: it waits for them",
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(
            "(status = 'Running') = (finished_at IS NULL)", name=op.f("ck_generations_finished_unless_running")
        ),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_generations_created_by")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_generations_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generations")),
    )
    op.create_index(op.f("ix_generations_project_id_created_at"), "generations", ["project_id", "created_at"])
    op.create_index(
        "ix_generations_running",
        "generations",
        ["project_id", "created_at"],
        postgresql_where=sa.text("status = 'Running'"),
    )
    op.add_column("runs", sa.Column("generation_id", sa.Uuid()))
    op.create_foreign_key(op.f("fk_runs_generation_id"), "runs", "generations", ["generation_id"], ["id"])
    op.create_index(op.f("ix_runs_generation_id"), "runs", ["generation_id"])
    op.add_column(
        "runs",
        sa.Column("parents", sa.ARRAY(sa.Uuid()), comment="the views of its generation that it waits for"),
    )
    # The workflows of an older release cannot go on, and more than one of a view may be open.
    op.execute(
        sa.text(
            "UPDATE runs SET status = 'Cancelled', finished_at = now(), error = :error, error_code = 'ended_outside'"
            " WHERE status = 'Running'"
        ).bindparams(error=_ENDED)
    )
    op.create_index(
        "uq_runs_open", "runs", ["saved_query_id"], unique=True, postgresql_where=sa.text("status = 'Running'")
    )
    op.create_table(
        "run_plans",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("plan", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "snapshot",
            postgresql.JSONB(astext_type=sa.Text()),
            comment="what was written and sealed, and is not published yet",
        ),
        sa.Column("unchanged_id", sa.Uuid(), comment="the version that stays, since nothing has changed"),
        sa.Column("unchanged_reason", sa.Text()),
        sa.Column(
            "spent",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="attempts that were outdated: no tries",
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_plans_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run_plans")),
    )
    op.create_table(
        "source_pins",
        sa.Column("generation_id", sa.Uuid(), nullable=False),
        sa.Column("source_table_id", sa.Uuid(), nullable=False),
        sa.Column(
            "round", sa.Integer(), nullable=False, comment="0, and one more each time that the files had changed"
        ),
        sa.Column(
            "listing",
            sa.LargeBinary(),
            comment="compressed JSON, since names of files need not be Unicode; null: outdated",
        ),
        sa.ForeignKeyConstraint(
            ["generation_id"], ["generations.id"], name=op.f("fk_source_pins_generation_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["source_table_id"], ["source_tables.id"], name=op.f("fk_source_pins_source_table_id")),
        sa.PrimaryKeyConstraint("generation_id", "source_table_id", "round", name=op.f("pk_source_pins")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("source_pins")
    op.drop_table("run_plans")
    op.drop_index("uq_runs_open", table_name="runs")
    op.drop_column("runs", "parents")
    op.drop_column("runs", "generation_id")
    op.drop_table("generations")
