"""Writes many new views at once. Everything else that a change of definitions writes goes view by view."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Table, insert

from orchestrator.catalog import saved_queries, tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import to_jsonb
from orchestrator.model.batches import batches
from orchestrator.model.definitions import ViewDefinition
from orchestrator.model.names import name_key
from orchestrator.model.snapshot import Column

# PostgreSQL takes 65,535 parameters in a statement.
_AT_ONCE = 500


class NewView(NamedTuple):
    """A view to store, with the ids that it gets and its columns."""

    id: UUID
    revision_id: UUID
    definition: ViewDefinition
    columns: Sequence[Column]
    translated: str | None = None


class Input(NamedTuple):
    """An input of a view: a view or a source table."""

    view_id: UUID | None
    table_id: UUID | None


async def insert_views(tx: Transaction, project_id: int, views: Sequence[NewView], user_id: int) -> None:
    """Store views with their names and first revisions, without their inputs. The project must be locked."""
    for some in batches(views, _AT_ONCE):
        await _insert(
            tx,
            t.saved_queries,
            [
                {
                    **one.definition.model_dump(exclude={"query", "timing", "column_descriptions", "checks"}),
                    **saved_queries.timing_columns(one.definition.timing),
                    "id": one.id,
                    "project_id": project_id,
                    "revision_id": one.revision_id,
                    "columns": to_jsonb(one.columns),
                    "created_by": user_id,
                }
                for one in some
            ],
        )
        await _insert(
            tx,
            t.revisions,
            [
                {
                    "id": one.revision_id,
                    "saved_query_id": one.id,
                    "number": 1,
                    "query": one.definition.query,
                    "translated": one.translated,
                    "created_by": user_id,
                }
                for one in some
            ],
        )
        keys = [(name_key(one.definition.name), one.id) for one in some]
        rows = [{"project_id": project_id, "key": key, "saved_query_id": view_id} for key, view_id in keys]
        await _insert(tx, t.names, rows)


async def insert_inputs(tx: Transaction, inputs: Mapping[UUID, Sequence[Input]]) -> None:
    """Store what new views read, in order of appearance."""
    rows = [
        {"saved_query_id": reader, "position": position, "input_view_id": one.view_id, "input_table_id": one.table_id}
        for reader, some in inputs.items()
        for position, one in enumerate(some)
    ]
    for batch in batches(rows, _AT_ONCE):
        await _insert(tx, t.inputs, batch)


async def _insert(tx: Transaction, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        await tx.execute(insert(table), rows)
