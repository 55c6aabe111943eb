"""Keys that expire, can be revoked and show when they were last used; copies of pauses; runs that end unheard."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    moment = sa.DateTime(timezone=True)
    for column in (
        sa.Column(
            "hint",
            sa.Text(),
            nullable=True,
            comment="how the token begins, for people; null: made before that was kept",
        ),
        sa.Column("expires_at", moment, nullable=True, comment="from when on it is refused; null: never"),
        sa.Column("revoked_at", moment, nullable=True, comment="since when it is refused, for good"),
        sa.Column("last_used_at", moment, nullable=True, comment="written once a minute at most"),
    ):
        op.add_column("api_keys", column)
    op.create_table(
        "pauses",
        sa.Column("saved_query_id", sa.Uuid(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.ForeignKeyConstraint(
            ["saved_query_id"], ["saved_queries.id"], name=op.f("fk_pauses_saved_query_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("saved_query_id", name=op.f("pk_pauses")),
    )
    op.add_column(
        "runs",
        sa.Column(
            "policy_due",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="it ended without a word: what follows from its failure is still to be done",
        ),
    )
    op.create_index("ix_runs_policy_due", "runs", ["started_at"], unique=False, postgresql_where=sa.text("policy_due"))


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_runs_policy_due", table_name="runs")
    op.drop_column("runs", "policy_due")
    op.drop_table("pauses")
    for column in ("last_used_at", "revoked_at", "expires_at", "hint"):
        op.drop_column("api_keys", column)
