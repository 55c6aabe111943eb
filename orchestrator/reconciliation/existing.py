"""Which views are this installation's, for lists from Temporal that may be of any length."""

from collections.abc import Collection
from uuid import UUID

from orchestrator.catalog import saved_queries
from orchestrator.catalog.database import Database
from orchestrator.model.batches import batches


async def existing_ids(database: Database, ids: Collection[UUID]) -> set[UUID]:
    """Those of the ids that are views of this installation, deleted ones included."""
    existing: set[UUID] = set()
    for batch in batches(sorted(ids)):
        async with database.begin() as tx:
            existing |= await saved_queries.existing_ids(tx, batch)
    return existing
