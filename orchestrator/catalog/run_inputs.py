"""The inputs of a run or of a client's query, read in one statement so that all of them are of the same moment."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from graphlib import TopologicalSorter
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Row, Select, Text, Uuid, all_, any_, bindparam, literal, null, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.elements import Label
from sqlalchemy.sql.selectable import FromClause

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.model.batches import batches
from orchestrator.model.engine import Dialect, query_text
from orchestrator.model.errors import InputMissing
from orchestrator.model.names import name_key
from orchestrator.model.run import Relation, SnapshotRelation, SourceRelation, ViewRelation

_MANY = 1000
_PLAIN_INPUTS = t.saved_queries.alias("plain_inputs")


class PinnedInputs(NamedTuple):
    """The inputs of a view: those that its generation refreshes too (id, name, version now), and all others.

    `relations` are in dependency order. `missing` says which input was deleted, None if none was.
    """

    members: tuple[tuple[UUID, str, SnapshotRelation | None], ...]
    relations: tuple[Relation, ...]
    missing: str | None


class NamedInputs(NamedTuple):
    """The relations that a statement reads under a name, in dependency order. `missing` is as in PinnedInputs."""

    relations: tuple[Relation, ...]
    missing: str | None


async def pinned(tx: Transaction, members: Collection[UUID]) -> dict[UUID, PinnedInputs]:
    """The inputs of each member, direct and through views that are evaluated inside its query.

    A view with a snapshot is read from that, and its own inputs are left out, even if its query has changed since. It
    serves its last good result until a run of its own replaces that.
    """
    rows = (await tx.execute(_edges_stmt(), {"members": list(members)})).all()
    views = list({row.view_id for row in rows if row.view_id})
    tables = list({row.table_id for row in rows if row.table_id})
    described: dict[UUID, Row[Any]] = {}
    for batch in batches(views, _MANY):
        described |= {row.view_id: row for row in await tx.execute(_views_stmt(), {"views": batch})}
    for batch in batches(tables, _MANY):
        described |= {row.table_id: row for row in await tx.execute(_tables_stmt(), {"tables": batch})}
    edges: dict[UUID, list[UUID]] = {}
    for row in rows:
        edges.setdefault(row.reader_id, []).append(row.table_id or row.view_id)
    known: dict[UUID, Relation] = {}
    every = frozenset(members)
    return {member: _pinned(member, edges, described, known, every) for member in members}


def _pinned(
    member: UUID,
    edges: Mapping[UUID, Sequence[UUID]],
    described: Mapping[UUID, Row[Any]],
    known: dict[UUID, Relation],
    members: Collection[UUID],
) -> PinnedInputs:
    """`known` holds the relations that were made for other members."""
    graph: dict[UUID, Sequence[UUID]] = {}
    waiting = [member]
    while waiting:
        reader = waiting.pop()
        graph[reader] = () if reader in members and reader != member else edges.get(reader, ())
        waiting.extend(one for one in graph[reader] if one not in graph)
    beside: list[tuple[UUID, str, SnapshotRelation | None]] = []
    relations: list[Relation] = []
    # Saving refuses cycles, so there is such an order.
    for one in TopologicalSorter(graph).static_order():
        if one == member:
            continue
        row = described[one]
        try:
            if one not in known and (row.table_id is not None or row.snapshot_id is not None or one not in members):
                known[one] = _relation(row)
        except InputMissing as error:
            return PinnedInputs((), (), error.message)
        if one in members:
            current = known.get(one)
            beside.append((one, row.view_name, current if isinstance(current, SnapshotRelation) else None))
        else:
            relations.append(known[one])
    return PinnedInputs(tuple(beside), tuple(relations), None)


async def named(tx: Transaction, project_id: int, names: Collection[str]) -> tuple[Relation, ...]:
    """The views and tables of these names and the inputs of those that are evaluated, in dependency order.

    Names that nothing has are left out. Raises InputMissing, naming the input, if one was deleted.
    """
    found = await each_named(tx, project_id, names)
    missing = next((one.missing for one in found.values() if one.missing is not None), None)
    if missing is not None:
        raise InputMissing(missing)
    return tuple({relation.id: relation for one in found.values() for relation in one.relations}.values())


async def each_named(tx: Transaction, project_id: int, names: Collection[str]) -> dict[str, NamedInputs]:
    """The inputs of a statement under each of these names, by the names' keys. Names that nothing has are left out."""
    keys = list({name_key(name) for name in names})
    inputs: dict[UUID, Row[Any]] = {}
    graph: dict[UUID, list[UUID]] = {}
    roots: list[UUID] = []
    for row in await tx.execute(_reachable_by_name(), {"project": project_id, "keys": keys}):
        input_id = row.table_id or row.view_id
        inputs[input_id] = row
        (roots if row.reader_id is None else graph.setdefault(row.reader_id, [])).append(input_id)
    # Saving refuses cycles, so there is such an order.
    order = {one: position for position, one in enumerate(TopologicalSorter(graph).static_order())}
    known: dict[UUID, Relation] = {}
    return {
        name_key(inputs[root].table_name or inputs[root].view_name): _named(root, inputs, graph, order, known)
        for root in roots
    }


def _named(
    root: UUID,
    inputs: Mapping[UUID, Row[Any]],
    graph: Mapping[UUID, Sequence[UUID]],
    order: Mapping[UUID, int],
    known: dict[UUID, Relation],
) -> NamedInputs:
    """`known` holds the relations that were made for other names."""
    reached: set[UUID] = set()
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if one not in reached:
            reached.add(one)
            waiting.extend(graph.get(one, ()))
    try:
        for one in reached - known.keys():
            known[one] = _relation(inputs[one])
    except InputMissing as error:
        return NamedInputs((), error.message)
    return NamedInputs(tuple(known[one] for one in sorted(reached, key=lambda one: order.get(one, 0))), None)


async def inlined(tx: Transaction, saved_query_ids: Collection[UUID]) -> dict[str, str]:
    """The SQL by name of those views that have no result and get none, and of all such that these read, at any depth.

    Views in another dialect than DuckDB's are left out: no query of DuckDB can have them inside it.

    A materialized view without a snapshot gets one before a generation reads it.
    """
    rows = await tx.execute(_inlined_stmt(), {"views": list(saved_query_ids)})
    texts = {row.name: query_text(row.query) for row in rows}
    return {name: text.sql for name, text in texts.items() if text.dialect is Dialect.DUCKDB}


def _with_plain_inputs(views: Select[tuple[UUID]], *further: ColumnElement[bool]) -> CTE:
    """The ids of these views, and of the views without a snapshot that they read, directly or through one another.

    `further` restricts the latter, which it knows as `_PLAIN_INPUTS`.
    """
    readers = views.cte("readers", recursive=True)
    return readers.union(
        select(t.inputs.c.input_view_id)
        .join(readers, t.inputs.c.saved_query_id == readers.c.id)
        .join(_PLAIN_INPUTS, _PLAIN_INPUTS.c.id == t.inputs.c.input_view_id)
        .where(_PLAIN_INPUTS.c.current_snapshot_id.is_(None), *further)
    )


@cache
def _inlined_stmt() -> Any:  # noqa: ANN401 - see below
    mine = t.saved_queries.c.id.in_(bindparam("views", expanding=True))
    plain = (t.saved_queries.c.current_snapshot_id.is_(None), t.saved_queries.c.sync_frequency.is_(None))
    readers = _with_plain_inputs(
        select(t.saved_queries.c.id).where(mine, *plain), _PLAIN_INPUTS.c.sync_frequency.is_(None)
    )
    return (
        select(t.saved_queries.c.name, t.revisions.c.query)
        .join(readers, readers.c.id == t.saved_queries.c.id)
        .join(t.revisions, t.revisions.c.id == t.saved_queries.c.revision_id)
    )


# Each of these is cached: building the statement takes longer than running it.


@cache
def _edges_stmt() -> Any:  # noqa: ANN401 - the statement's type is as long as the statement
    """Every input of the members, and of other views without a snapshot that they read: a row for each."""
    members = any_(bindparam("members", type_=ARRAY(Uuid)))
    themselves = select(t.saved_queries.c.id).where(t.saved_queries.c.id == members)
    edges = _edges(_with_plain_inputs(themselves, t.inputs.c.input_view_id != all_(bindparam("members"))))
    return edges.order_by("reader_id", "position")


@cache
def _views_stmt() -> Any:  # noqa: ANN401 - as above
    views = t.saved_queries.alias("views")
    columns = (*_view_columns(views), null().label("table_id"))
    return (
        select(*columns)
        .join(t.revisions, t.revisions.c.id == views.c.revision_id)
        .outerjoin(t.snapshots, t.snapshots.c.id == views.c.current_snapshot_id)
        .where(views.c.id == any_(bindparam("views", type_=ARRAY(Uuid))))
    )


@cache
def _tables_stmt() -> Any:  # noqa: ANN401 - as above
    tables = any_(bindparam("tables", type_=ARRAY(Uuid)))
    return select(*_table_columns()).where(t.source_tables.c.id == tables)


@cache
def _reachable_by_name() -> Any:  # noqa: ANN401 - as above
    """The same for a statement that reads these names: a row without a reader for each view or table of the name."""
    mine = (t.names.c.project_id == bindparam("project"), t.names.c.key == any_(bindparam("keys", type_=ARRAY(Text))))
    roots = select(
        null().cast(Uuid).label("reader_id"),
        literal(0).label("position"),
        t.names.c.saved_query_id.label("view_id"),
        t.names.c.source_table_id.label("table_id"),
    ).where(*mine)
    plain = (
        select(t.saved_queries.c.id)
        .join(t.names, t.names.c.saved_query_id == t.saved_queries.c.id)
        .where(*mine, t.saved_queries.c.current_snapshot_id.is_(None))
    )
    return _described(roots.union_all(_edges(_with_plain_inputs(plain))).cte("edges"))


def _edges(readers: CTE) -> Select[Any]:
    return select(
        readers.c.id.label("reader_id"),
        t.inputs.c.position,
        t.inputs.c.input_view_id.label("view_id"),
        t.inputs.c.input_table_id.label("table_id"),
    ).join(t.inputs, t.inputs.c.saved_query_id == readers.c.id)


def _described(edges: CTE) -> Select[Any]:
    views = t.saved_queries.alias("views")
    return (
        select(
            edges.c.reader_id,
            *_view_columns(views),
            *_table_columns(),
        )
        .select_from(edges)
        .outerjoin(views, views.c.id == edges.c.view_id)
        .outerjoin(t.revisions, t.revisions.c.id == views.c.revision_id)
        .outerjoin(t.snapshots, t.snapshots.c.id == views.c.current_snapshot_id)
        .outerjoin(t.source_tables, t.source_tables.c.id == edges.c.table_id)
        .order_by(edges.c.reader_id, edges.c.position)
    )


def _view_columns(views: FromClause) -> list[Label[Any]]:
    return [
        views.c.id.label("view_id"),
        views.c.name.label("view_name"),
        views.c.deleted_at.label("view_deleted_at"),
        t.revisions.c.query.label("view_query"),
        t.snapshots.c.id.label("snapshot_id"),
        t.snapshots.c.location.label("location"),
        t.snapshots.c.files.label("files"),
        t.snapshots.c.columns.label("snapshot_columns"),
    ]


def _table_columns() -> list[Label[Any]]:
    table = t.source_tables.c
    return [
        table.id.label("table_id"),
        table.name.label("table_name"),
        table.deleted_at.label("table_deleted_at"),
        table.format.label("format"),
        table.url_pattern.label("url_pattern"),
        table.columns.label("table_columns"),
        table.options.label("table_options"),
        table.stated.label("table_stated"),
    ]


def _relation(row: Row[Any]) -> Relation:
    if row.table_id is not None:
        if row.table_deleted_at is not None:
            raise InputMissing(f'The source table "{row.table_name}" that this view reads was deleted.')
        return SourceRelation(
            name=row.table_name,
            id=row.table_id,
            format=row.format,
            url_pattern=row.url_pattern,
            columns=row.table_columns,
            options=row.table_options,
            stated=tuple(column["name"] for column in row.table_stated),
        )
    if row.view_deleted_at is not None:
        raise InputMissing(f'The view "{row.view_name}" that this view reads was deleted.')
    if row.snapshot_id is not None:
        return SnapshotRelation(
            name=row.view_name,
            id=row.view_id,
            snapshot_id=row.snapshot_id,
            location=row.location,
            files=row.files,
            columns=row.snapshot_columns,
        )
    text = query_text(row.view_query)
    return ViewRelation(name=row.view_name, id=row.view_id, sql=text.sql, dialect=text.dialect)
