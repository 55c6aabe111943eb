"""Sign-ins to the console, and the index of what its open pages ask for."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "console_sessions",
        sa.Column(
            "token_hash",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of 256 random bits",
        ),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column(
            "is_link", sa.Boolean(), nullable=False, comment="a link, which becomes a session when it is followed"
        ),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_console_sessions_key_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_console_sessions")),
    )
    op.create_index(op.f("ix_console_sessions_key_id"), "console_sessions", ["key_id"])
    # Open pages ask for the last changes of their projects each second.
    op.create_index(op.f("ix_journal_project_id_created_at"), "journal", ["project_id", "created_at"])


def downgrade() -> None:
    """Undo."""
    op.drop_index(op.f("ix_journal_project_id_created_at"), "journal")
    op.drop_table("console_sessions")
