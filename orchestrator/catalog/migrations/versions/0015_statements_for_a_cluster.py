"""The statement that a Spark cluster runs, beside the query of a view."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "revisions",
        sa.Column(
            "translated",
            sa.Text(),
            comment="the statement that the Spark cluster runs; null: DuckDB runs the query itself",
        ),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("revisions", "translated")
