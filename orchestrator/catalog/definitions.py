"""The definitions of a project, read at one moment."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Float, Row, Text, cast, func, literal, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by

from orchestrator.catalog import annotations, check_definitions, tables as t
from orchestrator.catalog.check_definitions import StoredCheck
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import ran_query
from orchestrator.catalog.view_columns import shown_columns
from orchestrator.model.check_definition import CheckDefinition
from orchestrator.model.cron import CronSchedule
from orchestrator.model.definitions import TableDefinition, ViewDefinition
from orchestrator.model.names import name_key
from orchestrator.model.run import RunStatus
from orchestrator.model.saved_query import Timing
from orchestrator.model.snapshot import Column


class StoredView(NamedTuple):
    """A live view: its definition, and what a change of it needs beside that.

    `columns` are those of its text when they were last determined, `shown` those that a reader sees. `reads` are the
    keys of the names that it reads. `ran_revision_id` is the revision that its newest run used. `checks` are those of
    the definition, in its order.
    """

    id: UUID
    definition: ViewDefinition
    revision_id: UUID
    has_result: bool
    columns: tuple[Column, ...]
    shown: tuple[Column, ...]
    reads: tuple[str, ...]
    ran_revision_id: UUID | None
    last_seconds: float | None
    checks: tuple[StoredCheck, ...] = ()


class StoredTable(NamedTuple):
    """A live source table: its definition with its checks, and its columns as its files had them."""

    id: UUID
    definition: TableDefinition
    columns: tuple[Column, ...]
    checks: tuple[StoredCheck, ...] = ()


class StoredDefinitions(NamedTuple):
    """The live views and source tables of a project, by the key of their name.

    `base` changes with every change of a definition.
    """

    base: str
    views: Mapping[str, StoredView]
    tables: Mapping[str, StoredTable]


async def load(tx: Transaction, project_id: int) -> StoredDefinitions:
    """All definitions of a project. The transaction must see one moment, or hold the project's lock."""
    identity = await base(tx, project_id)
    described = await annotations.by_owner(tx, project_id)
    checked = await check_definitions.by_subject(tx, project_id)
    tables = {
        name_key(row.name): StoredTable(
            row.id,
            _table(row, described.get(row.id, {}), checked.get(row.id, ())),
            _columns(row.columns),
            tuple(checked.get(row.id, ())),
        )
        for row in await tx.execute(select(t.source_tables).where(*_live(t.source_tables, project_id)))
    }
    reads = await _reads(tx, project_id)
    views = {
        name_key(row.name): StoredView(
            id=row.id,
            definition=_view(row, described.get(row.id, {}), checked.get(row.id, ())),
            revision_id=row.revision_id,
            has_result=row.current_snapshot_id is not None,
            columns=_columns(row.columns),
            shown=_columns(row.shown),
            reads=tuple(reads.get(row.id, ())),
            ran_revision_id=row.ran_revision_id,
            last_seconds=row.last_seconds,
            checks=tuple(checked.get(row.id, ())),
        )
        for row in await tx.execute(_views(project_id))
    }
    return StoredDefinitions(identity, views, tables)


async def base(tx: Transaction, project_id: int) -> str:
    """Identifies the definitions of a project as they are now."""
    view, table = t.saved_queries.c, t.source_tables.c
    views = (view.id, view.name, view.revision_id, view.description, view.freshness, view.max_staleness)
    of_views = await tx.scalar(
        select(_digest([*views, view.sync_frequency, view.cron, view.time_zone], view.id)).where(
            *_live(t.saved_queries, project_id)
        )
    )
    tables = (table.id, table.name, table.format, table.url_pattern, table.options, table.stated, table.columns)
    of_tables = await tx.scalar(select(_digest(tables, table.id)).where(*_live(t.source_tables, project_id)))
    of_descriptions = await annotations.digest(tx, project_id)
    of_checks = await check_definitions.digest(tx, project_id)
    return ".".join(one or "-" for one in (of_views, of_tables, of_descriptions, of_checks))


def _view(row: Row[Any], descriptions: Mapping[str, str], checks: Sequence[StoredCheck]) -> ViewDefinition:
    own = {"timing": _timing(row), "column_descriptions": descriptions, "checks": _shown(checks)}
    return ViewDefinition.model_validate({**row._mapping, **own})


def _shown(checks: Sequence[StoredCheck]) -> list[CheckDefinition]:
    """Those that a definition has: of two that are the same there, the one that refers to what is still there.

    The other one refers to what was deleted, and had the same name.
    """
    alive_last = sorted(checks, key=lambda one: one.target_id is not None)
    kept = {one.definition.key: one.check.id for one in alive_last}.values()
    return [one.definition for one in checks if one.check.id in kept]


def _table(row: Row[Any], descriptions: Mapping[str, str], checks: Sequence[StoredCheck]) -> TableDefinition:
    columns = {name: text for name, text in descriptions.items() if name}
    own = {"description": descriptions.get(""), "column_descriptions": columns, "checks": _shown(checks)}
    return TableDefinition.model_validate({**row._mapping, **own})


def _timing(row: Row[Any]) -> Timing | None:
    cron = None if row.cron is None else CronSchedule(expression=row.cron, time_zone=row.time_zone)
    return None if row.sync_frequency is None else Timing(frequency=row.sync_frequency, cron=cron)


def _digest(fields: Any, order: ColumnElement[Any]) -> ColumnElement[str]:  # noqa: ANN401 - SQLAlchemy's own
    row = func.md5(func.jsonb_build_array(*fields).cast(Text))
    return func.md5(func.string_agg(row, aggregate_order_by(literal(""), order)))


def _live(source: Any, project_id: int) -> tuple[ColumnElement[bool], ...]:  # noqa: ANN401 - SQLAlchemy's own
    return (source.c.project_id == project_id, source.c.deleted_at.is_(None))


async def _reads(tx: Transaction, project_id: int) -> dict[UUID, list[str]]:
    view, table, reader = t.saved_queries.alias("input_view"), t.source_tables, t.saved_queries
    query = (
        select(t.inputs.c.saved_query_id, func.coalesce(view.c.name, table.c.name))
        .join(reader, reader.c.id == t.inputs.c.saved_query_id)
        .outerjoin(view, view.c.id == t.inputs.c.input_view_id)
        .outerjoin(table, table.c.id == t.inputs.c.input_table_id)
        .where(*_live(reader, project_id))
        .order_by(t.inputs.c.saved_query_id, t.inputs.c.position)
    )
    found: dict[UUID, list[str]] = {}
    for reader_id, name in await tx.execute(query):
        found.setdefault(reader_id, []).append(name_key(name))
    return found


def _views(project_id: int) -> Any:  # noqa: ANN401 - the statement's type is as long as the statement
    view = t.saved_queries
    runs = select(t.runs).where(
        t.runs.c.saved_query_id == view.c.id, ran_query(t.runs), view.c.sync_frequency.is_not(None)
    )
    newest_first = (t.runs.c.started_at.desc(), t.runs.c.id)
    newest = runs.order_by(*newest_first).limit(1).lateral("newest")
    completed = runs.where(t.runs.c.status == RunStatus.COMPLETED).order_by(*newest_first).limit(1).lateral("completed")
    seconds = func.extract("epoch", completed.c.finished_at - completed.c.started_at)
    return (
        select(
            *(
                view.c.id,
                view.c.name,
                view.c.description,
                view.c.sync_frequency,
                view.c.cron,
                view.c.time_zone,
                view.c.freshness,
                view.c.max_staleness,
            ),
            *(view.c.revision_id, view.c.current_snapshot_id, view.c.columns, t.revisions.c.query),
            shown_columns().label("shown"),
            newest.c.revision_id.label("ran_revision_id"),
            cast(seconds, Float).label("last_seconds"),
        )
        .join(t.revisions, t.revisions.c.id == view.c.revision_id)
        .outerjoin(t.snapshots, t.snapshots.c.id == view.c.current_snapshot_id)
        .outerjoin(newest, true())
        .outerjoin(completed, true())
        .where(*_live(view, project_id))
    )


def _columns(stored: Any) -> tuple[Column, ...]:  # noqa: ANN401 - JSON
    return tuple(map(Column.model_validate, stored))
