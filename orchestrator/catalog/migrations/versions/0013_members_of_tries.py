"""Tries of an edit together with the views that read the edited one."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("tries", sa.Column("member_of", sa.Uuid(), comment="the try that this is a member of; null: none"))
    op.add_column(
        "tries",
        sa.Column(
            "position",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="its place among the members, after those that it reads; 0: the edited view",
        ),
    )
    op.add_column(
        "tries",
        sa.Column(
            "spent",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="attempts that were outdated: no tries",
        ),
    )
    op.create_foreign_key(op.f("fk_tries_member_of"), "tries", "tries", ["member_of"], ["id"])
    op.create_index(op.f("ix_tries_member_of"), "tries", ["member_of"])
    # A try pins the files of source tables as a generation does.
    op.drop_constraint(op.f("fk_source_pins_generation_id"), "source_pins", type_="foreignkey")


def downgrade() -> None:
    """Undo."""
    op.execute("DELETE FROM source_pins WHERE generation_id NOT IN (SELECT id FROM generations)")
    op.create_foreign_key(
        op.f("fk_source_pins_generation_id"),
        "source_pins",
        "generations",
        ["generation_id"],
        ["id"],
        ondelete="CASCADE",
    )
    op.execute("DELETE FROM tries WHERE member_of IS NOT NULL")
    op.drop_index(op.f("ix_tries_member_of"), table_name="tries")
    op.drop_constraint(op.f("fk_tries_member_of"), "tries", type_="foreignkey")
    for name in ("spent", "position", "member_of"):
        op.drop_column("tries", name)
