"""Writes many views into the catalog directly, since creating them through the API would take minutes.

They have runs, snapshots and entries in the audit log, as views that have been refreshed for a while. Temporal and the
store hold nothing of them.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Table, insert, text, update

from orchestrator.catalog import tables as t
from orchestrator.catalog.audit_log import SAVED_QUERY
from orchestrator.catalog.database import Database
from orchestrator.model.base import now
from orchestrator.model.names import name_key

_BATCH = 1_000
_RUNS = 3
_COLUMNS = [{"name": f"column_{number}", "duckdb_type": "BIGINT"} for number in range(8)]
_QUERY = {"kind": "HogQLQuery", "query": "SELECT {number} AS number, i, md5(i::VARCHAR) AS m FROM range(1000) t(i)"}

Row = dict[str, Any]


async def fill(database_url: str, project_id: int, count: int, *, prefix: str = "filled") -> list[str]:
    """Insert so many materialized views, each with three completed runs; returns their ids, oldest first."""
    database = Database(database_url, pool_size=1)
    began = now() - timedelta(days=2)
    ids = [uuid4() for _ in range(count)]
    try:
        for start in range(0, count, _BATCH):
            rows = _Rows(project_id, prefix)
            for number in range(start, min(start + _BATCH, count)):
                rows.add(ids[number], number, began + timedelta(seconds=number))
            async with database.begin() as tx:
                for table, values in rows.by_table():
                    await tx.execute(insert(table), values)
                # A run and its snapshot refer to each other, so the run's reference is set afterwards.
                published = update(t.runs).where(t.runs.c.id == t.snapshots.c.run_id, t.runs.c.snapshot_id.is_(None))
                await tx.execute(published.values(snapshot_id=t.snapshots.c.id))
        async with database.begin() as tx:  # autovacuum would have done it within minutes
            await tx.execute(text("ANALYZE"))
    finally:
        await database.close()
    return [str(view_id) for view_id in ids]


class _Rows:
    """The rows of some views, by table, in an order in which no foreign key fails."""

    def __init__(self, project_id: int, prefix: str) -> None:
        self._project_id, self._prefix = project_id, prefix
        self._rows: dict[Table, list[Row]] = {
            table: [] for table in (t.saved_queries, t.revisions, t.names, t.runs, t.snapshots, t.journal)
        }

    def add(self, view_id: UUID, number: int, made: datetime) -> None:
        """Add a view, its revision, its name, its runs with their snapshots, and its entry in the audit log."""
        name, revision_id = f"{self._prefix}_{number}", uuid4()
        query = {**_QUERY, "query": _QUERY["query"].format(number=number)}
        snapshots = [self._run(view_id, revision_id, made + timedelta(minutes=n)) for n in range(_RUNS)]
        view = {"id": view_id, "project_id": self._project_id, "name": name, "columns": _COLUMNS, "created_at": made}
        wish = {"sync_frequency": "24hour", "sync_frequency_set_at": made, "current_snapshot_id": snapshots[-1]}
        self._rows[t.saved_queries].append({**view, **wish, "revision_id": revision_id})
        revision = {"id": revision_id, "saved_query_id": view_id, "number": 1, "query": query, "created_at": made}
        self._rows[t.revisions].append(revision)
        named = {"project_id": self._project_id, "key": name_key(name), "saved_query_id": view_id}
        self._rows[t.names].append(named)
        entry = {"id": uuid4(), "project_id": self._project_id, "scope": SAVED_QUERY, "item_id": view_id}
        self._rows[t.journal].append({**entry, "item_name": name, "verb": "created", "changes": []})

    def by_table(self) -> Iterator[tuple[Table, Sequence[Row]]]:
        """The rows to insert, table by table."""
        yield from self._rows.items()

    def _run(self, view_id: UUID, revision_id: UUID, began: datetime) -> UUID:
        run_id, snapshot_id, ended = uuid4(), uuid4(), began + timedelta(seconds=1)
        shared = {"saved_query_id": view_id, "revision_id": revision_id, "attempt": 1, "rows": 1000, "bytes": 40_000}
        run = {"id": run_id, "workflow_id": f"materialize/{view_id}", "workflow_run_id": uuid4(), **shared}
        how = {"status": "Completed", "trigger": "schedule", "started_at": began, "finished_at": ended}
        self._rows[t.runs].append({**run, **how})
        made = {"id": snapshot_id, "run_id": run_id, **shared, "location": f"1/{view_id}/{run_id}-1"}
        what = {"files": [], "columns": _COLUMNS, "inputs": [], "engine_version": "1", "created_at": ended}
        self._rows[t.snapshots].append({**made, **what, "published_at": ended})
        return snapshot_id
