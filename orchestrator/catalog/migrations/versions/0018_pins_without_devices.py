"""Pinned source files without the number of their device: each machine that mounts a file system has its own."""

import json
import zlib
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_DEVICE = 2


def upgrade() -> None:
    """Apply."""
    _rewrite(lambda file: [*file[:_DEVICE], *file[_DEVICE + 1 :]])


def downgrade() -> None:
    """Undo: the device and the inode stand for any file."""
    _rewrite(lambda file: [*file[:_DEVICE], 0, 0, *file[_DEVICE + 1 :]])


def _rewrite(changed: Callable[[list[Any]], list[Any]]) -> None:
    """Change what each pin says of how a file is opened: the last value of four for each file of its listing."""
    connection = op.get_bind()
    pins = sa.table("source_pins", *map(sa.column, ("generation_id", "source_table_id", "round", "listing")))
    key = (pins.c.generation_id, pins.c.source_table_id, pins.c.round)
    for *found, before in connection.execute(sa.select(*key, pins.c.listing).where(pins.c.listing.is_not(None))):
        listing = json.loads(zlib.decompress(before))
        listing["files"] = [[*file[:-1], changed(file[-1])] for file in listing["files"]]
        is_it = sa.and_(*(column == value for column, value in zip(key, found, strict=True)))
        packed = zlib.compress(json.dumps(listing).encode(), 1)
        connection.execute(sa.update(pins).where(is_it).values(listing=packed))
