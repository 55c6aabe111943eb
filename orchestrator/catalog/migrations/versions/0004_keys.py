"""Keys that expire, that can be revoked, and that show when they were last used."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0002"
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


def downgrade() -> None:
    """Take back."""
    for column in ("last_used_at", "revoked_at", "expires_at", "hint"):
        op.drop_column("api_keys", column)
