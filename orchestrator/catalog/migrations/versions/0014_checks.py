"""Checks, their results, and versions that they keep from readers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_BEFORE = "files of rows that were left out; not part of the result"
_AFTER = "files beside the result: of rows that were left out, and that checks failed on"


def upgrade() -> None:
    """Apply."""
    json, moment = postgresql.JSONB(), sa.DateTime(timezone=True)
    texts = postgresql.ARRAY(sa.Text())
    live = sa.text("deleted_at IS NULL")
    op.create_table(
        "checks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("saved_query_id", sa.Uuid()),
        sa.Column("source_table_id", sa.Uuid()),
        sa.Column("name", sa.Text()),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("check_type", sa.Text(), nullable=False),
        sa.Column("column_name", sa.Text(), nullable=False, comment="empty: none"),
        sa.Column("config", json, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False, comment="of the type, the column and the config"),
        sa.Column("reads", texts, nullable=False, comment="the names that its statement reads beside its subject"),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("tags", texts, nullable=False),
        sa.Column("created_source", sa.Text(), nullable=False),
        sa.Column("ai_model", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Float()),
        sa.Column("reasoning", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Integer()),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", moment),
        sa.CheckConstraint("num_nonnulls(saved_query_id, source_table_id) = 1", name=op.f("ck_checks_one_subject")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_checks_project_id")),
        sa.ForeignKeyConstraint(
            ["saved_query_id"], ["saved_queries.id"], name=op.f("fk_checks_saved_query_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["source_table_id"], ["source_tables.id"], name=op.f("fk_checks_source_table_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_checks_created_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checks")),
    )
    op.create_index(
        "uq_checks_name", "checks", ["project_id", sa.text("lower(name)")], unique=True, postgresql_where=live
    )
    op.create_index("uq_checks_of_view", "checks", ["saved_query_id", "digest"], unique=True, postgresql_where=live)
    op.create_index("uq_checks_of_table", "checks", ["source_table_id", "digest"], unique=True, postgresql_where=live)
    op.create_table(
        "check_results",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("check_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), comment="the run that made it"),
        sa.Column("generation_id", sa.Uuid(), comment="that checked a source table; else a person did"),
        sa.Column("snapshot_id", sa.Uuid(), comment="the version that was checked"),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("failing_rows", sa.BigInteger(), comment="null: it could not be run"),
        sa.Column("reason", sa.Text()),
        sa.Column("sql", sa.Text(), comment="selects the failing rows"),
        sa.Column("sample", sa.Text(), comment="the file beside the version that holds some of them"),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["check_id"], ["checks.id"], name=op.f("fk_check_results_check_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_check_results_run_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["generation_id"], ["generations.id"], name=op.f("fk_check_results_generation_id")),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshots.id"], name=op.f("fk_check_results_snapshot_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_check_results")),
    )
    op.create_index(op.f("ix_check_results_check_id_created_at"), "check_results", ["check_id", "created_at"])
    op.create_index(op.f("ix_check_results_run_id"), "check_results", ["run_id"])
    op.create_index(op.f("ix_check_results_snapshot_id"), "check_results", ["snapshot_id"])
    op.add_column("run_plans", sa.Column("checks", json, comment="the results of the checks of what was written"))
    op.add_column(
        "snapshots",
        sa.Column("blocked_at", moment, comment="since when its checks keep it from readers; null: they do not"),
    )
    op.alter_column("snapshots", "quarantine", existing_type=json, existing_nullable=False, comment=_AFTER)


def downgrade() -> None:
    """Undo. Blocked versions become versions like any other."""
    op.alter_column(
        "snapshots", "quarantine", existing_type=postgresql.JSONB(), existing_nullable=False, comment=_BEFORE
    )
    op.drop_column("snapshots", "blocked_at")
    op.drop_column("run_plans", "checks")
    op.drop_table("check_results")
    op.drop_table("checks")
