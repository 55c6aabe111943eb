"""The first schema."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "projects",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("uuid", sa.Uuid(), nullable=False),
        sa.Column("distinct_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("first_name", sa.Text(), nullable=False),
        sa.Column("last_name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("distinct_id", name=op.f("uq_users_distinct_id")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
        sa.UniqueConstraint("uuid", name=op.f("uq_users_uuid")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("project_ids", sa.ARRAY(sa.Integer()), nullable=True, comment="null: every project"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_keys_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_keys_token_hash")),
    )
    op.create_table(
        "journal",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("item_name", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("changes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=True, comment="null: the system"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_journal_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_journal_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal")),
    )
    op.create_index(op.f("ix_journal_item_id_created_at"), "journal", ["item_id", "created_at"], unique=False)
    op.create_table(
        "saved_queries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("revision_id", sa.Uuid(), nullable=False),
        sa.Column("current_snapshot_id", sa.Uuid(), nullable=True),
        sa.Column("columns", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("sync_frequency", sa.Text(), nullable=True, comment="null: not materialized"),
        sa.Column("sync_frequency_set_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "reverted_at", sa.DateTime(timezone=True), nullable=True, comment="when the materialization was last undone"
        ),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_saved_queries_created_by")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_saved_queries_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_saved_queries")),
    )
    op.create_index(
        op.f("ix_saved_queries_project_id_created_at"), "saved_queries", ["project_id", "created_at"], unique=False
    )
    op.create_table(
        "source_tables",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("url_pattern", sa.Text(), nullable=False),
        sa.Column("columns", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("credential", sa.LargeBinary(), nullable=True, comment="encrypted"),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_source_tables_created_by")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_source_tables_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source_tables")),
    )
    op.create_index(
        op.f("ix_source_tables_project_id_created_at"), "source_tables", ["project_id", "created_at"], unique=False
    )
    op.create_table(
        "inputs",
        sa.Column("saved_query_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, comment="in order of appearance"),
        sa.Column("input_view_id", sa.Uuid(), nullable=True),
        sa.Column("input_table_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("num_nonnulls(input_view_id, input_table_id) = 1", name=op.f("ck_inputs_one_input")),
        sa.ForeignKeyConstraint(["input_table_id"], ["source_tables.id"], name=op.f("fk_inputs_input_table_id")),
        sa.ForeignKeyConstraint(["input_view_id"], ["saved_queries.id"], name=op.f("fk_inputs_input_view_id")),
        sa.ForeignKeyConstraint(
            ["saved_query_id"], ["saved_queries.id"], name=op.f("fk_inputs_saved_query_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("saved_query_id", "position", name=op.f("pk_inputs")),
    )
    op.create_index(op.f("ix_inputs_input_table_id"), "inputs", ["input_table_id"], unique=False)
    op.create_index(op.f("ix_inputs_input_view_id"), "inputs", ["input_view_id"], unique=False)
    op.create_table(
        "names",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="lower case"),
        sa.Column("saved_query_id", sa.Uuid(), nullable=True),
        sa.Column("source_table_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("num_nonnulls(saved_query_id, source_table_id) = 1", name=op.f("ck_names_one_owner")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_names_project_id")),
        sa.ForeignKeyConstraint(
            ["saved_query_id"], ["saved_queries.id"], name=op.f("fk_names_saved_query_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["source_table_id"], ["source_tables.id"], name=op.f("fk_names_source_table_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_names")),
        sa.UniqueConstraint("saved_query_id", name=op.f("uq_names_saved_query_id")),
        sa.UniqueConstraint("source_table_id", name=op.f("uq_names_source_table_id")),
    )
    op.create_table(
        "revisions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("saved_query_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="1 is the first"),
        sa.Column("query", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="as the client sent it"),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_revisions_created_by")),
        sa.ForeignKeyConstraint(["saved_query_id"], ["saved_queries.id"], name=op.f("fk_revisions_saved_query_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revisions")),
        sa.UniqueConstraint("saved_query_id", "number", name=op.f("uq_revisions_saved_query_id_number")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("saved_query_id", sa.Uuid(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("workflow_run_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("scheduled_for", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revision_id", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False, comment="which attempt may publish"),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("snapshot_id", sa.Uuid(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(status = 'Running') = (finished_at IS NULL)", name=op.f("ck_runs_finished_unless_running")
        ),
        sa.ForeignKeyConstraint(["revision_id"], ["revisions.id"], name=op.f("fk_runs_revision_id")),
        sa.ForeignKeyConstraint(["saved_query_id"], ["saved_queries.id"], name=op.f("fk_runs_saved_query_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_saved_query_id_started_at"), "runs", ["saved_query_id", "started_at"], unique=False)
    op.create_table(
        "snapshots",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("saved_query_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("revision_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False, comment="the store's key of its folder"),
        sa.Column("files", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("columns", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "inputs", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="what it was made from, exactly"
        ),
        sa.Column("engine_version", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["revision_id"], ["revisions.id"], name=op.f("fk_snapshots_revision_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_snapshots_run_id")),
        sa.ForeignKeyConstraint(["saved_query_id"], ["saved_queries.id"], name=op.f("fk_snapshots_saved_query_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshots")),
        sa.UniqueConstraint("location", name=op.f("uq_snapshots_location")),
        sa.UniqueConstraint("run_id", name=op.f("uq_snapshots_run_id")),
    )
    op.create_index(op.f("ix_snapshots_saved_query_id"), "snapshots", ["saved_query_id"], unique=False)
    # Tables that point at each other: these come last, or CREATE TABLE would name one that does not exist yet.
    op.create_foreign_key(
        "fk_saved_queries_current_snapshot_id",
        "saved_queries",
        "snapshots",
        ["current_snapshot_id"],
        ["id"],
        deferrable=True,
        initially="DEFERRED",
    )
    op.create_foreign_key(
        "fk_saved_queries_revision_id",
        "saved_queries",
        "revisions",
        ["revision_id"],
        ["id"],
        deferrable=True,
        initially="DEFERRED",
    )
    op.create_foreign_key("fk_runs_snapshot_id", "runs", "snapshots", ["snapshot_id"], ["id"])


def downgrade() -> None:
    """Take back."""
    op.drop_constraint("fk_saved_queries_current_snapshot_id", "saved_queries")
    op.drop_constraint("fk_saved_queries_revision_id", "saved_queries")
    op.drop_constraint("fk_runs_snapshot_id", "runs")
    op.drop_index(op.f("ix_snapshots_saved_query_id"), table_name="snapshots")
    op.drop_table("snapshots")
    op.drop_index(op.f("ix_runs_saved_query_id_started_at"), table_name="runs")
    op.drop_table("runs")
    op.drop_table("revisions")
    op.drop_table("names")
    op.drop_index(op.f("ix_inputs_input_view_id"), table_name="inputs")
    op.drop_index(op.f("ix_inputs_input_table_id"), table_name="inputs")
    op.drop_table("inputs")
    op.drop_index(op.f("ix_source_tables_project_id_created_at"), table_name="source_tables")
    op.drop_table("source_tables")
    op.drop_index(op.f("ix_saved_queries_project_id_created_at"), table_name="saved_queries")
    op.drop_table("saved_queries")
    op.drop_index(op.f("ix_journal_item_id_created_at"), table_name="journal")
    op.drop_table("journal")
    op.drop_table("api_keys")
    op.drop_table("users")
    op.drop_table("projects")
