"""Saved queries: their rows, revisions and inputs."""

from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    null,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.catalog import names, saved_pauses, snapshots, tables as t
from orchestrator.catalog.annotations import descriptions_of
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.names import NameTarget
from orchestrator.catalog.pagination import on_page, select_page, shown
from orchestrator.catalog.rows import label_columns, parse_labelled, ran_query, to_jsonb
from orchestrator.model.annotation import Described
from orchestrator.model.base import now
from orchestrator.model.cron import CronSchedule
from orchestrator.model.freshness import Freshness
from orchestrator.model.lineage import shortest_path
from orchestrator.model.principal import User
from orchestrator.model.run import Run, RunStatus
from orchestrator.model.saved_query import Revision, SavedQuery, SnapshotSummary, SyncFrequency, Timing
from orchestrator.model.schedule import DesiredSchedule
from orchestrator.model.snapshot import Column

_LARGE = ("columns", "description")
_TEXTS = ("query", "translated")
_LIVE = t.saved_queries.c.deleted_at.is_(None)


async def find(tx: Transaction, project_id: int, saved_query_id: UUID, *, lock: bool = False) -> SavedQuery | None:
    """The live view of that id. `lock` keeps every other writer of it waiting until the transaction ends."""
    if lock:
        row = select(t.saved_queries.c.id).where(t.saved_queries.c.id == saved_query_id)
        await tx.execute(row.with_for_update(key_share=True))
    found = (await tx.execute(_of_project(), {"view": saved_query_id, "project": project_id})).one_or_none()
    return None if found is None else _saved_query(found)


async def is_live(tx: Transaction, project_id: int, saved_query_id: UUID) -> bool:
    """Whether the project has a live view of that id."""
    return await tx.scalar(_live_id(), {"view": saved_query_id, "project": project_id}) is not None


async def is_plain(tx: Transaction, saved_query_id: UUID) -> bool:
    """Whether the view has no snapshot, so that readers see the result of its query."""
    query = select(t.saved_queries.c.id).where(t.saved_queries.c.id == saved_query_id)
    return await tx.scalar(query.where(t.saved_queries.c.current_snapshot_id.is_(None))) is not None


async def find_desired_schedule(tx: Transaction, saved_query_id: UUID) -> DesiredSchedule | None:
    """The schedule that a view should have now; None if the view is deleted or not materialized."""
    row = (await tx.execute(_select_desired().where(t.saved_queries.c.id == saved_query_id))).one_or_none()
    return None if row is None else _desired_schedule(row)


async def list_desired_schedules(tx: Transaction) -> list[DesiredSchedule]:
    """The schedules that all live, materialized views of all projects should have."""
    return [_desired_schedule(row) for row in await tx.execute(_select_desired())]


async def existing_ids(tx: Transaction, ids: Collection[UUID]) -> set[UUID]:
    """Those of the ids that are views of this installation, deleted ones included: deleting keeps the row."""
    return set(await tx.scalars(select(t.saved_queries.c.id).where(t.saved_queries.c.id.in_(ids))))


async def get_project_id(tx: Transaction, saved_query_id: UUID) -> int | None:
    """The project of a view, deleted or not."""
    return await tx.scalar(select(t.saved_queries.c.project_id).where(t.saved_queries.c.id == saved_query_id))


async def page(
    tx: Transaction, project_id: int, *, search: str | None, name: str | None = None, limit: int, offset: int
) -> tuple[int, list[SavedQuery]]:
    """The number of live views whose name contains `search`, and those of one page, newest first.

    `name` leaves only the view of that name, in any case.

    None of them has its query. Where the page would be too large, some lack their columns and description too.
    """
    matches = [t.saved_queries.c.project_id == project_id, _LIVE]
    if search:
        matches.append(t.saved_queries.c.name.icontains(search, autoescape=True))
    if name is not None:
        matches.append(t.saved_queries.c.id == await names.view_of(tx, project_id, name))
    newest_first = (t.saved_queries.c.created_at.desc(), t.saved_queries.c.id)
    # The page is chosen first, so that the other tables are joined for its views only.
    page = await select_page(tx, t.saved_queries, matches, newest_first, large=_LARGE, limit=limit, offset=offset)
    rows = await tx.execute(_list_stmt(), page.shown)
    return page.count, [_saved_query(row) for row in page.in_order(rows)]


async def some(tx: Transaction, project_id: int, ids: Sequence[UUID]) -> list[SavedQuery]:
    """Those of the ids that are live views of the project, without their queries, columns and descriptions."""
    rows = await tx.execute(_some_stmt(), {"page": list(ids), "whole": [], "project": project_id})
    return [_saved_query(row) for row in rows]


async def insert_new(tx: Transaction, view: SavedQuery, inputs: Sequence[NameTarget]) -> None:
    """Store a new view with its first revision and its inputs. Its name must have been reserved."""
    created_by = view.created_by.id if view.created_by else None
    await tx.execute(
        insert(t.saved_queries).values(
            id=view.id,
            project_id=view.project_id,
            name=view.name,
            description=view.description,
            revision_id=view.revision.id,
            columns=to_jsonb(view.columns),
            created_by=created_by,
        )
    )
    await _insert_revision(tx, view.id, view.revision, created_by)
    await replace_inputs(tx, view.id, inputs)


async def add_revision(
    tx: Transaction,
    view: SavedQuery,
    *,
    query: dict[str, Any],
    columns: Sequence[Column],
    inputs: Sequence[NameTarget],
    by: int | None,
    revision_id: UUID | None = None,
    translated: str | None = None,
) -> None:
    """Store a new revision of a view's query as its current one. The view must be locked."""
    revision = Revision(
        id=revision_id or uuid4(),
        number=view.revision.number + 1,
        query=query,
        created_at=now(),
        translated=translated,
    )
    await _insert_revision(tx, view.id, revision, by)
    await replace_inputs(tx, view.id, inputs)
    change = update(t.saved_queries).where(t.saved_queries.c.id == view.id)
    await tx.execute(change.values(revision_id=revision.id, columns=to_jsonb(columns)))


async def set_description(tx: Transaction, saved_query_id: UUID, description: str | None) -> None:
    """Set a view's description."""
    change = update(t.saved_queries).where(t.saved_queries.c.id == saved_query_id)
    await tx.execute(change.values(description=description))


async def set_timing(tx: Transaction, saved_query_id: UUID, timing: Timing) -> None:
    """Set when a view is to be refreshed, which makes it a materialized view."""
    change = update(t.saved_queries).where(t.saved_queries.c.id == saved_query_id)
    await tx.execute(change.values(sync_frequency_set_at=func.clock_timestamp(), **timing_columns(timing)))


def timing_columns(timing: Timing | None) -> dict[str, str | int | None]:
    """The timing of a view as columns."""
    cron = timing.cron if timing else None
    return {
        "sync_frequency": timing.frequency if timing else None,
        "cron": cron.expression if cron else None,
        "time_zone": cron.time_zone if cron else None,
        "cron_gap_seconds": int(cron.longest_gap.total_seconds()) if cron else None,
    }


async def set_freshness(
    tx: Transaction, saved_query_id: UUID, freshness: Freshness, max_staleness: SyncFrequency | None
) -> None:
    """Set how fresh the data of a view is to be."""
    change = update(t.saved_queries).where(t.saved_queries.c.id == saved_query_id)
    await tx.execute(change.values(freshness=freshness, max_staleness=max_staleness))


async def has_followers(tx: Transaction, project_id: int) -> bool:
    """Whether a materialized view of the project follows what it reads."""
    view = t.saved_queries.c
    mine = (view.project_id == project_id, view.freshness == Freshness.FOLLOW, view.sync_frequency.is_not(None), _LIVE)
    return await tx.scalar(select(view.id).where(*mine).limit(1)) is not None


async def update_query_object(tx: Transaction, revision_id: UUID, query: dict[str, Any]) -> None:
    """Replace a revision's query object by one with the same SQL, such as one with another `kind`."""
    await tx.execute(update(t.revisions).where(t.revisions.c.id == revision_id).values(query=query))


async def path_between(tx: Transaction, start: Sequence[UUID], goal: UUID) -> list[str] | None:
    """The names on a shortest path from a view in `start` up its inputs to the view `goal`, both ends included.

    None if there is no path. If there is one from a view's new inputs to the view itself, they would close a cycle.
    """
    views, inputs = t.saved_queries, t.inputs
    reached = select(views.c.id).where(views.c.id.in_(start)).cte("reached", recursive=True)
    further = select(inputs.c.input_view_id).join(reached, inputs.c.saved_query_id == reached.c.id)
    reached = reached.union(further.where(inputs.c.input_view_id.is_not(None)))
    query = (
        select(views.c.id, views.c.name, func.array_agg(inputs.c.input_view_id).label("inputs"))
        .join(reached, reached.c.id == views.c.id)
        .outerjoin(inputs, inputs.c.saved_query_id == views.c.id)
        .group_by(views.c.id)
    )
    found = {row.id: row for row in await tx.execute(query)}
    if goal not in found:
        return None
    path = shortest_path(start, goal, {key: row.inputs for key, row in found.items()})
    return None if path is None else [found[step].name for step in path]


async def dependents(
    tx: Transaction, *, saved_query_id: UUID | None = None, source_table_id: UUID | None = None
) -> list[str]:
    """The names of the live views that read a view or a source table, sorted."""
    read = (
        t.inputs.c.input_table_id == source_table_id
        if saved_query_id is None
        else t.inputs.c.input_view_id == saved_query_id
    )
    query = (
        select(t.saved_queries.c.name)
        .distinct()
        .join(t.inputs, t.inputs.c.saved_query_id == t.saved_queries.c.id)
        .where(read, _LIVE)
        .order_by(t.saved_queries.c.name)
    )
    return list(await tx.scalars(query))


async def rename(tx: Transaction, saved_query_id: UUID, name: str) -> None:
    """Give a view another name, which must have been reserved."""
    await tx.execute(update(t.saved_queries).where(t.saved_queries.c.id == saved_query_id).values(name=name))


async def revert(tx: Transaction, saved_query_id: UUID) -> None:
    """Undo a view's materialization: it has no timing any more, and none of its snapshots is visible."""
    await saved_pauses.forget(tx, [saved_query_id])  # its schedule is to be deleted
    await snapshots.clear_current(tx, saved_query_id)
    change = update(t.saved_queries).where(t.saved_queries.c.id == saved_query_id)
    moment = func.clock_timestamp()
    no_cron = {"cron": None, "time_zone": None, "cron_gap_seconds": None}
    usual = {"freshness": Freshness.CLOCK, "max_staleness": None, **no_cron}
    await tx.execute(change.values(sync_frequency=None, sync_frequency_set_at=moment, reverted_at=moment, **usual))


async def mark_deleted(tx: Transaction, saved_query_id: UUID) -> None:
    """Delete a view softly: its runs and its audit log stay readable. The caller frees its name."""
    await revert(tx, saved_query_id)
    change = update(t.saved_queries).where(t.saved_queries.c.id == saved_query_id)
    await tx.execute(change.values(deleted_at=func.now()))
    checks = update(t.checks).where(t.checks.c.saved_query_id == saved_query_id, t.checks.c.deleted_at.is_(None))
    await tx.execute(checks.values(deleted_at=func.now()))


async def list_materialized(tx: Transaction, project_id: int, ids: Collection[UUID]) -> list[SavedQuery]:
    """Those of the ids that are live, materialized views of the project."""
    query = _select().where(
        t.saved_queries.c.id.in_(ids),
        t.saved_queries.c.project_id == project_id,
        t.saved_queries.c.sync_frequency.is_not(None),
        _LIVE,
    )
    return [_saved_query(row) for row in await tx.execute(query)]


async def _insert_revision(tx: Transaction, saved_query_id: UUID, revision: Revision, created_by: int | None) -> None:
    await tx.execute(
        insert(t.revisions).values(
            id=revision.id,
            saved_query_id=saved_query_id,
            number=revision.number,
            query=revision.query,
            translated=revision.translated,
            created_by=created_by,
            created_at=revision.created_at,
        )
    )


async def replace_inputs(tx: Transaction, saved_query_id: UUID, inputs: Sequence[NameTarget]) -> None:
    """Store what a view reads, in order of appearance."""
    await tx.execute(delete(t.inputs).where(t.inputs.c.saved_query_id == saved_query_id))
    if inputs:
        rows = [
            {
                "saved_query_id": saved_query_id,
                "position": position,
                "input_view_id": named.saved_query_id,
                "input_table_id": named.source_table_id,
            }
            for position, named in enumerate(inputs)
        ]
        await tx.execute(insert(t.inputs), rows)


def _select_desired() -> Select[Any]:
    return (
        select(
            t.saved_queries.c.id.label("saved_query_id"),
            t.saved_queries.c.project_id,
            t.saved_queries.c.name,
            t.saved_queries.c.sync_frequency.label("frequency"),
            t.saved_queries.c.cron,
            t.saved_queries.c.time_zone,
            t.pauses.c.note.label("paused_note"),
        )
        .outerjoin_from(t.saved_queries, t.pauses, t.pauses.c.saved_query_id == t.saved_queries.c.id)
        .where(_LIVE, t.saved_queries.c.sync_frequency.is_not(None))
    )


@cache
def _select() -> Select[Any]:
    """Views with everything that the API shows of them, in one statement for any number of views.

    Cached: building the statement takes longer than running it.
    """
    described = descriptions_of(t.saved_queries.c.id, Described.VIEW)
    return _select_with([*t.saved_queries.c, described], t.revisions.c.query, t.revisions.c.translated)


@cache
def _list_stmt() -> Select[Any]:
    """The views of a page, without their queries: these may be large, and a list does not show them."""
    nothing = cast(null(), Text)
    return _select_with(shown(t.saved_queries, *_LARGE), cast({}, JSONB), nothing).where(on_page(t.saved_queries))


@cache
def _some_stmt() -> Select[Any]:
    return _list_stmt().where(t.saved_queries.c.project_id == bindparam("project"), _LIVE)


def _select_with(
    columns: Iterable[ColumnElement[Any]], query: ColumnElement[Any], translated: ColumnElement[Any]
) -> Select[Any]:
    runs = select(t.runs).where(
        t.runs.c.saved_query_id == t.saved_queries.c.id,
        ran_query(t.runs),
        t.saved_queries.c.sync_frequency.is_not(None),
        t.saved_queries.c.reverted_at.is_(None) | (t.runs.c.started_at > t.saved_queries.c.reverted_at),
    )
    newest_first = (t.runs.c.started_at.desc(), t.runs.c.id)
    newest = runs.order_by(*newest_first).limit(1).lateral("newest")
    ended = runs.where(t.runs.c.status != RunStatus.RUNNING).order_by(*newest_first).limit(1).lateral("ended")
    return (
        select(
            *columns,
            *label_columns(
                "current_revision", t.revisions, [name for name in Revision.model_fields if name not in _TEXTS]
            ),
            query.label("current_revision_query"),
            translated.label("current_revision_translated"),
            *label_columns("user", t.users, User.model_fields),
            *label_columns("snapshot", t.snapshots, SnapshotSummary.model_fields),
            *label_columns("newest", newest, Run.model_fields),
            *label_columns("ended", ended, Run.model_fields),
        )
        .join(t.revisions, t.revisions.c.id == t.saved_queries.c.revision_id)
        .outerjoin(t.users, t.users.c.id == t.saved_queries.c.created_by)
        .outerjoin(t.snapshots, t.snapshots.c.id == t.saved_queries.c.current_snapshot_id)
        .outerjoin(newest, true())
        .outerjoin(ended, true())
    )


@cache
def _live_id() -> Select[Any]:
    views = t.saved_queries.c
    return select(views.id).where(views.id == bindparam("view"), views.project_id == bindparam("project"), _LIVE)


@cache
def _of_any_project() -> Select[Any]:
    return _select().where(t.saved_queries.c.id == bindparam("view"), _LIVE)


@cache
def _of_project() -> Select[Any]:
    return _of_any_project().where(t.saved_queries.c.project_id == bindparam("project"))


def _desired_schedule(row: Row[Any]) -> DesiredSchedule:
    return DesiredSchedule(
        saved_query_id=row.saved_query_id,
        project_id=row.project_id,
        name=row.name,
        frequency=row.frequency,
        cron=_cron(row),
        paused_note=row.paused_note,
    )


def _cron(row: Row[Any]) -> CronSchedule | None:
    return None if row.cron is None else CronSchedule(expression=row.cron, time_zone=row.time_zone)


def _saved_query(row: Row[Any]) -> SavedQuery:
    return SavedQuery(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        description=row.description,
        revision=Revision(
            id=row.current_revision_id,
            number=row.current_revision_number,
            query=row.current_revision_query,
            created_at=row.current_revision_created_at,
            translated=row.current_revision_translated,
        ),
        columns=row.columns,
        is_abridged=row._mapping.get("is_abridged", False),
        sync_frequency=row.sync_frequency,
        sync_frequency_set_at=row.sync_frequency_set_at,
        cron=_cron(row),
        freshness=row.freshness,
        max_staleness=row.max_staleness,
        data_as_of=row.data_as_of,
        reverted_at=row.reverted_at,
        created_by=parse_labelled("user", row, User),
        created_at=row.created_at,
        current_snapshot=parse_labelled("snapshot", row, SnapshotSummary),
        newest_run=parse_labelled("newest", row, Run),
        newest_finished_run=parse_labelled("ended", row, Run),
        column_descriptions=row._mapping.get("column_descriptions") or {},
    )
