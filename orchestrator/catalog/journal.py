"""The journal: appended to in the transaction of the change that it tells of."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from sqlalchemy import insert

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import dump
from orchestrator.model.journal import Change, Verb

SAVED_QUERY = "DataWarehouseSavedQuery"


async def append(
    tx: Transaction,
    *,
    project_id: int,
    item_id: UUID,
    name: str,
    verb: Verb,
    user_id: int | None,
    changes: Sequence[Change] = (),
) -> None:
    """Note what was done to a view. `user_id` None is the system itself."""
    await tx.execute(
        insert(t.journal).values(
            id=uuid4(),
            project_id=project_id,
            scope=SAVED_QUERY,
            item_id=item_id,
            item_name=name,
            verb=verb,
            changes=dump(changes),
            user_id=user_id,
        )
    )
