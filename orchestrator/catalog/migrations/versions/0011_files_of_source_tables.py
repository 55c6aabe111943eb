"""The number and size of a source table's files when its columns were last read."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "source_tables",
        sa.Column(
            "files",
            postgresql.JSONB(astext_type=sa.Text()),
            comment="their number and bytes when the columns were last read; null: not known",
        ),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("source_tables", "files")
