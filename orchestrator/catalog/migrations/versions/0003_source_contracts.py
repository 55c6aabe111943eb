"""Source tables with options of reading and stated types, and rows that a run kept apart."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("source_tables", _jsonb("options", "'{}'", "how its files are read; what is not there is as usual"))
    op.add_column("source_tables", _jsonb("stated", "'[]'", "the columns whose type a person stated"))
    op.add_column("snapshots", _jsonb("quarantine", "'[]'", "files of rows that were left out; not part of the result"))


def downgrade() -> None:
    """Take back."""
    op.drop_column("snapshots", "quarantine")
    op.drop_column("source_tables", "stated")
    op.drop_column("source_tables", "options")


def _jsonb(name: str, default: str, comment: str) -> sa.Column[object]:
    kind = postgresql.JSONB(astext_type=sa.Text())
    return sa.Column(name, kind, server_default=sa.text(default), nullable=False, comment=comment)
