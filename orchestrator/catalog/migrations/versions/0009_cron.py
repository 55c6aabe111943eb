"""The cron schedules of views, beside their frequencies."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "saved_queries", sa.Column("cron", sa.Text(), comment="the expression of its cron schedule; null: it has none")
    )
    op.add_column("saved_queries", sa.Column("time_zone", sa.Text(), comment="the time zone of its cron schedule"))
    op.add_column(
        "saved_queries",
        sa.Column(
            "cron_gap_seconds",
            sa.BigInteger(),
            comment="the longest time between two moments of its cron schedule",
        ),
    )


def downgrade() -> None:
    """Undo. A view with a cron schedule keeps the frequency that it was shown with."""
    op.drop_column("saved_queries", "cron_gap_seconds")
    op.drop_column("saved_queries", "time_zone")
    op.drop_column("saved_queries", "cron")
