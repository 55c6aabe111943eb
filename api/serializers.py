"""Converts views, runs, source tables and audit entries from the model to the JSON shapes of the API."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from api.schemas import (
    ColumnOut,
    DescribedColumnOut,
    JournalChange,
    JournalDetail,
    JournalEntry,
    JournalUser,
    ProgressOut,
    RunOut,
    UserOut,
    ViewOut,
    ViewSummary,
)
from api.table_schemas import (
    ColumnChangesOut,
    DescribedTableColumnOut,
    FileDifferenceOut,
    StoredTableOut,
    TableColumnOut,
    TableOut,
    TableSummary,
)
from orchestrator.model.audit import AuditEntry
from orchestrator.model.column_changes import ColumnChanges
from orchestrator.model.lineage import Node
from orchestrator.model.names import fold
from orchestrator.model.principal import User
from orchestrator.model.read_options import shown
from orchestrator.model.saved_query import SavedQuery
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import SourceTable
from orchestrator.services.runs import RunState
from orchestrator.services.source_tables import StoredTable
from orchestrator.services.view_states import ViewState

_SHOWN_OTHERWISE = {"timestamp", "error"}
SCOPE = "DataWarehouseSavedQuery"


def user_out(user: User | None) -> UserOut | None:
    """A person as the API shows them; None for none."""
    return None if user is None else UserOut(**user.model_dump())


def view_summary(view: SavedQuery) -> ViewSummary:
    """A view as a list shows it."""
    return ViewSummary(**_summary(view))


def view_out(state: ViewState) -> ViewOut:
    """A view with all its fields, as the API shows it."""
    view, schedule = state.view, state.schedule
    snapshot = view.current_snapshot
    return ViewOut(
        **_summary(view)
        | {
            "deleted": state.deleted,
            "columns": [
                DescribedColumnOut(
                    **column_out(one).model_dump(), description=view.column_descriptions.get(fold(one.name))
                )
                for one in view.columns
            ],
        },
        query=view.revision.query,
        translated_query=view.revision.translated,
        latest_history_id=view.revision.id,
        next_run_at=schedule.next_run_at if schedule else None,
        schedule_paused=schedule.paused if schedule else None,
        paused_reason=schedule.paused_reason if schedule else None,
        current_snapshot_id=snapshot.id if snapshot else None,
        freshness=view.freshness,
        max_staleness=view.max_staleness,
    )


def run_out(state: RunState) -> RunOut:
    """A run as the API shows it."""
    run, progress = state.run, state.progress
    duration = (run.finished_at - run.started_at).total_seconds() if run.finished_at else None
    return RunOut(
        timestamp=run.timestamp,
        duration_seconds=duration,
        progress=ProgressOut(**progress.model_dump()) if progress else None,
        error=run.error or state.trouble,
        **{
            name: getattr(run, name)
            for name in RunOut.model_fields
            if hasattr(run, name) and name not in _SHOWN_OTHERWISE
        },
    )


def entry_out(entry: AuditEntry) -> JournalEntry:
    """An audit entry as the API shows it."""
    person = entry.user
    user = (
        JournalUser(first_name="System", email=None, is_system=True)
        if person is None
        else JournalUser(first_name=person.first_name, last_name=person.last_name, email=person.email)
    )
    changes = [JournalChange(type=SCOPE, **change.model_dump()) for change in entry.changes]
    return JournalEntry(
        id=entry.id,
        user=user,
        activity=entry.verb,
        scope=SCOPE,
        item_id=entry.item_id,
        detail=JournalDetail(name=entry.name, changes=changes),
        created_at=entry.created_at,
        abridged=entry.is_abridged,
    )


def nodes_out(nodes: Iterable[Node]) -> list[str]:
    """Views by id and source tables by name, sorted, so that every call has the same order."""
    return sorted(str(node) for node in nodes)


def table_summary(table: SourceTable) -> TableSummary:
    """A source table as a list shows it."""
    return TableSummary(**_table_fields(table))


def table_out(table: SourceTable) -> TableOut:
    """A source table with all its fields, as the API shows it."""
    return TableOut(**_described_fields(table))


def stored_table_out(stored: StoredTable) -> StoredTableOut:
    """A source table that was stored, with what was found in its files."""
    found, changes = stored.described, stored.changes
    return StoredTableOut(
        **_described_fields(stored.table),
        differences=[FileDifferenceOut(**one.model_dump()) for one in (found.differences if found else ())],
        changes=ColumnChangesOut.model_validate(changes.model_dump()) if changes != ColumnChanges() else None,
    )


def _described_fields(table: SourceTable) -> dict[str, Any]:
    fields = _table_fields(table)
    columns = [
        DescribedTableColumnOut(**column.model_dump(), description=table.column_descriptions.get(fold(column.name)))
        for column in fields["columns"]
    ]
    return fields | {"columns": columns, "description": table.description}


def _table_fields(table: SourceTable) -> dict[str, Any]:
    stated = {fold(column.name) for column in table.stated}
    return {
        "id": table.id,
        "name": table.name,
        "format": table.format,
        "url_pattern": table.url_pattern,
        "columns": [_table_column(column, fold(column.name) in stated) for column in table.columns],
        "file_count": None if table.files is None else table.files.file_count,
        "bytes": None if table.files is None else table.files.bytes,
        "created_by": user_out(table.created_by),
        "created_at": table.created_at,
        "deleted": False,
        **shown(table.format, table.options),
        "abridged": table.is_abridged,
    }


@lru_cache(maxsize=4096)
def _table_column(column: Column, stated: bool) -> TableColumnOut:
    return TableColumnOut(**column_out(column).model_dump(), stated=stated)


@lru_cache(maxsize=4096)  # a list of views shows thousands, most of them alike
def column_out(column: Column) -> ColumnOut:
    """A column as the API shows it."""
    return ColumnOut(
        key=column.name, name=column.name, type=wire_type(column.duckdb_type), duckdb_type=column.duckdb_type
    )


def wire_type(duckdb_type: str) -> str:
    """PostHog's name for a DuckDB type."""
    if duckdb_type.endswith("]"):
        return "array"
    head = duckdb_type.split("(", maxsplit=1)[0].strip().upper()
    return "string" if head.startswith("VARCHAR COLLATE") else _WIRE_TYPES.get(head, "unknown")


_WIRE_TYPES = {
    **dict.fromkeys(
        ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
        "integer",
    ),
    **dict.fromkeys(("UHUGEINT", "BIGNUM"), "integer"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "float"),
    **dict.fromkeys(("VARCHAR", "ENUM", "BLOB", "BIT"), "string"),
    **dict.fromkeys(
        ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"), "datetime"
    ),
    **dict.fromkeys(("TIME", "TIME WITH TIME ZONE", "TIME_NS"), "time"),
    **dict.fromkeys(("STRUCT", "UNION"), "tuple"),
    "DECIMAL": "decimal",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "INTERVAL": "interval",
    "UUID": "uuid",
    "JSON": "json",
    "MAP": "map",
}


def _summary(view: SavedQuery) -> dict[str, Any]:
    snapshot = view.current_snapshot
    return {
        "id": view.id,
        "deleted": False,
        "name": view.name,
        "created_by": user_out(view.created_by),
        "created_at": view.created_at,
        "sync_frequency": view.sync_frequency,
        "cron": view.cron.expression if view.cron else None,
        "time_zone": view.cron.time_zone if view.cron else None,
        "columns": [column_out(column) for column in view.columns],
        "status": view.status,
        "last_run_at": view.last_run_at,
        "managed_viewset_kind": None,
        "latest_error": view.latest_error,
        "is_materialized": view.is_materialized,
        "origin": "data_warehouse",
        "description": view.description,
        "row_count": snapshot.rows if snapshot else None,
        "size_bytes": snapshot.bytes if snapshot else None,
        "data_as_of": view.data_as_of,
        "abridged": view.is_abridged,
    }
