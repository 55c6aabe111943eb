"""The files of source tables as a generation reads them: the first step that needs them lists and stores them.

A try of an edit pins them in the same way, under its own id.
"""

import json
import zlib
from collections.abc import Collection
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction

_PRIMARY = ["generation_id", "source_table_id", "round"]


class StoredPin(NamedTuple):
    """A pinned listing as JSON values, and how many of this table the generation has given up before."""

    round: int
    listing: Any


async def rounds(
    tx: Transaction, generation_ids: Collection[UUID], table_ids: Collection[UUID]
) -> dict[UUID, dict[UUID, int]]:
    """The numbers of the valid pins of these tables that these generations have, by generation and table."""
    pin = t.source_pins.c
    query = select(pin.generation_id, pin.source_table_id, pin.round).where(
        pin.generation_id.in_(generation_ids), pin.source_table_id.in_(table_ids), pin.listing.is_not(None)
    )
    found: dict[UUID, dict[UUID, int]] = {}
    for generation_id, table_id, number in await tx.execute(query):
        found.setdefault(generation_id, {})[table_id] = number
    return found


async def load(tx: Transaction, generation_id: UUID, table_id: UUID) -> StoredPin | None:
    """The valid pin of a table, if it has one."""
    query = select(t.source_pins.c.round, t.source_pins.c.listing).where(
        t.source_pins.c.generation_id == generation_id,
        t.source_pins.c.source_table_id == table_id,
        t.source_pins.c.listing.is_not(None),
    )
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else StoredPin(row.round, json.loads(zlib.decompress(row.listing)))


async def store(
    tx: Transaction,
    generation_id: UUID,
    table_id: UUID,
    listing: Any,  # noqa: ANN401 - JSON
    copy_id: UUID | None = None,
) -> None:
    """Store a listing as the pin of a table, unless another step was faster. `copy_id` is the copy that it shows."""
    given_up = select(func.coalesce(func.max(t.source_pins.c.round) + 1, 0)).where(
        t.source_pins.c.generation_id == generation_id,
        t.source_pins.c.source_table_id == table_id,
        t.source_pins.c.listing.is_(None),
    )
    packed = zlib.compress(json.dumps(listing).encode(), 1)
    new = insert(t.source_pins).values(
        generation_id=generation_id,
        source_table_id=table_id,
        round=given_up.scalar_subquery(),
        listing=packed,
        copy_id=copy_id,
    )
    await tx.execute(new.on_conflict_do_nothing())


async def store_copy(tx: Transaction, generation_id: UUID, table_id: UUID, listing: Any, copy_id: UUID) -> None:  # noqa: ANN401 - JSON
    """Store a listing, which is that of a copy, as the pin of a table, in place of another one."""
    packed = zlib.compress(json.dumps(listing).encode(), 1)
    new = insert(t.source_pins).values(
        generation_id=generation_id, source_table_id=table_id, round=0, listing=packed, copy_id=copy_id
    )
    changed = {"listing": new.excluded.listing, "copy_id": new.excluded.copy_id}
    await tx.execute(new.on_conflict_do_update(index_elements=_PRIMARY, set_=changed))


async def give_up(tx: Transaction, generation_id: UUID, table_id: UUID, round_: int) -> None:
    """Make a pin invalid. The next step that needs the table lists its files again."""
    change = update(t.source_pins).where(
        t.source_pins.c.generation_id == generation_id,
        t.source_pins.c.source_table_id == table_id,
        t.source_pins.c.round == round_,
    )
    await tx.execute(change.values(listing=None))


async def forget(tx: Transaction, generation_id: UUID) -> None:
    """Delete the pins of a generation or a try that has ended."""
    await tx.execute(delete(t.source_pins).where(t.source_pins.c.generation_id == generation_id))
