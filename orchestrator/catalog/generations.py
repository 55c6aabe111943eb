"""Generations: asked for, begun, listed and ended.

A generation has ended once it has begun and none of its runs is open. A worker, an API or the reconciler may close the
last one, so every function that closes runs calls `settle`.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, DateTime, Row, Select, bindparam, case, cast, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.types import Uuid

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import RUN_COLUMNS
from orchestrator.model.freshness import Freshness
from orchestrator.model.generation import (
    CancelledView,
    Direction,
    Generation,
    GenerationStatus,
    Member,
    MemberPhase,
    PublishMode,
    Selection,
)
from orchestrator.model.run import Run, RunRequest, RunStatus
from orchestrator.model.saved_query import SyncFrequency
from orchestrator.model.view_graph import ViewGraph, ViewNode

_COLUMNS = [t.generations.c[name] for name in Generation.model_fields]


async def insert_new(tx: Transaction, generation: Generation, user_id: int | None) -> None:
    """Store a generation that is about to be started."""
    row = generation.model_dump(exclude={"selection"}) | {"selection": generation.selection.model_dump(mode="json")}
    await tx.execute(insert(t.generations).values(created_by=user_id, **row))


async def ensure_single(
    tx: Transaction,
    generation_id: UUID,
    project_id: int,
    request: RunRequest,
    workflow_id: str,
    *,
    user_id: int | None = None,
) -> None:
    """Store the generation of a run of one view, unless the API or the workflow has done so already."""
    selection = Selection(views=(request.saved_query_id,), direction=Direction.NONE)
    row = {
        "id": generation_id,
        "project_id": project_id,
        "workflow_id": workflow_id,
        "selection": selection.model_dump(mode="json"),
        "publish": PublishMode.WHAT_SUCCEEDED,
        "full_refresh": request.full_refresh,
        "trigger": request.trigger,
        "status": GenerationStatus.RUNNING,
        "created_by": user_id,
    }
    await tx.execute(_ensure_stmt(), row)


async def delete_unstarted(tx: Transaction, generation_id: UUID) -> bool:
    """Remove a generation whose workflow could not be started. False if it was started all the same, and has begun."""
    mine = (t.generations.c.id == generation_id, t.generations.c.started_at.is_(None))
    removed = await tx.execute(delete(t.generations).where(*mine).returning(t.generations.c.id))
    return removed.one_or_none() is not None


async def find_waiting(tx: Transaction, like: Generation) -> UUID | None:
    """A generation that was asked for in the same way as `like`, and has not begun. It will do what `like` would."""
    row = t.generations.c
    query = select(row.id).where(
        *(row.project_id == like.project_id, row.status == GenerationStatus.RUNNING, row.started_at.is_(None)),
        *(row.publish == like.publish, row.full_refresh == like.full_refresh, row.trigger == like.trigger),
        row.selection == like.selection.model_dump(mode="json"),
    )
    return await tx.scalar(query.limit(1))


async def lock(tx: Transaction, generation_id: UUID) -> Generation | None:
    """The generation of that id. No other transaction changes it until this one ends."""
    row = (await tx.execute(_select().where(t.generations.c.id == generation_id).with_for_update())).one_or_none()
    return None if row is None else _generation(row)


async def find(tx: Transaction, project_id: int, generation_id: UUID) -> Generation | None:
    """A generation of the project."""
    mine = (t.generations.c.id == generation_id, t.generations.c.project_id == project_id)
    row = (await tx.execute(_select().where(*mine))).one_or_none()
    return None if row is None else _generation(row)


async def is_running(tx: Transaction, generation_id: UUID) -> bool:
    """Whether the catalog has a generation of this id and calls it Running."""
    query = select(t.generations.c.id).where(t.generations.c.id == generation_id)
    return await tx.scalar(query.where(t.generations.c.status == GenerationStatus.RUNNING)) is not None


async def of_tick(tx: Transaction, workflow_run_id: UUID) -> Generation | None:
    """The generation that a tick follows."""
    query = _select().join(t.ticks, t.ticks.c.generation_id == t.generations.c.id)
    row = (await tx.execute(query.where(t.ticks.c.id == workflow_run_id))).one_or_none()
    return None if row is None else _generation(row)


async def cancel_view(tx: Transaction, generation_id: UUID, view: UUID) -> None:
    """Cancel a view in a generation that has not begun: as it begins, the view's run ends as Cancelled."""
    generation = await lock(tx, generation_id)
    if generation is not None and generation.started_at is None:
        cancelled = CancelledView(view=view, at=await tx.scalar(select(func.clock_timestamp())))
        more = {"cancelled": (*generation.selection.cancelled, cancelled)}
        selection = generation.selection.model_copy(update=more).model_dump(mode="json")
        await tx.execute(update(t.generations).where(t.generations.c.id == generation_id).values(selection=selection))


class GenerationCounts(NamedTuple):
    """A generation, and how many runs of each status it has."""

    generation: Generation
    counts: dict[RunStatus, int]


async def page(
    tx: Transaction,
    project_id: int,
    *,
    view_id: UUID | None,
    status: GenerationStatus | None,
    limit: int,
    offset: int,
) -> tuple[int, list[GenerationCounts]]:
    """The number of generations of a project, and those of one page, newest first."""
    mine: list[ColumnElement[bool]] = [t.generations.c.project_id == project_id]
    if status is not None:
        mine.append(t.generations.c.status == status)
    if view_id is not None:
        mine.append(exists().where(t.runs.c.generation_id == t.generations.c.id, t.runs.c.saved_query_id == view_id))
    count = await tx.scalar(select(func.count()).select_from(t.generations).where(*mine)) or 0
    newest = (t.generations.c.created_at.desc(), t.generations.c.id)
    found = [
        _generation(row)
        for row in await tx.execute(_select().where(*mine).order_by(*newest).limit(limit).offset(offset))
    ]
    counts = await count_runs(tx, [one.id for one in found])
    return count, [GenerationCounts(one, counts.get(one.id, {})) for one in found]


async def count_runs(tx: Transaction, generation_ids: Collection[UUID]) -> dict[UUID, dict[RunStatus, int]]:
    """How many runs of each status each of the generations has."""
    query = select(t.runs.c.generation_id, t.runs.c.status, func.count())
    mine = query.where(t.runs.c.generation_id.in_(generation_ids)).group_by(t.runs.c.generation_id, t.runs.c.status)
    counts: dict[UUID, dict[RunStatus, int]] = {}
    for generation_id, status, number in await tx.execute(mine):
        counts.setdefault(generation_id, {})[RunStatus(status)] = number
    return counts


async def members(tx: Transaction, generation_id: UUID) -> list[Member]:
    """The members of a generation, by name, each with its run."""
    query = (
        select(
            *RUN_COLUMNS,
            t.saved_queries.c.name.label("view_name"),
            t.runs.c.parents,
            _phase().label("phase"),
            _written_at().label("written_at"),
        )
        .join(t.saved_queries, t.saved_queries.c.id == t.runs.c.saved_query_id)
        .outerjoin(t.snapshots, t.snapshots.c.run_id == t.runs.c.id)
        .outerjoin(t.run_plans, t.run_plans.c.run_id == t.runs.c.id)
        .where(t.runs.c.generation_id == generation_id)
        .order_by(func.lower(t.saved_queries.c.name), t.runs.c.id)
    )
    return [
        Member(
            name=row.view_name,
            run=Run.model_validate(row._mapping),
            phase=MemberPhase(row.phase) if row.status == RunStatus.RUNNING else None,
            parents=tuple(row.parents or ()),
            written_at=row.written_at,
        )
        for row in await tx.execute(query)
    ]


async def list_idle(tx: Transaction, older_than: timedelta) -> list[Generation]:
    """The generations that the catalog calls Running, though they have no open run, the oldest first."""
    query = _select().where(
        t.generations.c.status == GenerationStatus.RUNNING,
        t.generations.c.created_at < func.clock_timestamp() - older_than,
        ~_has_open_run(),
    )
    return [_generation(row) for row in await tx.execute(query.order_by(t.generations.c.created_at))]


async def count_waiting(tx: Transaction, project_id: int) -> int:
    """How many generations of the project do not hold their members yet."""
    waiting = (t.generations.c.status == GenerationStatus.RUNNING, t.generations.c.started_at.is_(None))
    query = select(func.count()).select_from(t.generations)
    return await tx.scalar(query.where(t.generations.c.project_id == project_id, *waiting)) or 0


async def list_waiting(tx: Transaction, project_id: int) -> list[Generation]:
    """The generations of the project that do not hold their members yet, the first first."""
    query = _select().where(
        t.generations.c.project_id == project_id,
        t.generations.c.status == GenerationStatus.RUNNING,
        t.generations.c.started_at.is_(None),
    )
    first = query.order_by(t.generations.c.created_at, t.generations.c.id)
    return [_generation(row) for row in await tx.execute(first)]


async def set_started(tx: Transaction, generation_id: UUID) -> None:
    """Record that the generation holds its members from now on."""
    change = update(t.generations).where(t.generations.c.id == generation_id)
    await tx.execute(change.values(started_at=func.clock_timestamp()))


async def graph(tx: Transaction, project_id: int) -> ViewGraph:
    """The graph of the live views of a project."""
    view = t.saved_queries
    live = (view.c.project_id == project_id, view.c.deleted_at.is_(None))
    read = (
        select(t.inputs.c.saved_query_id, t.inputs.c.input_view_id)
        .join(view, view.c.id == t.inputs.c.saved_query_id)
        .where(*live, t.inputs.c.input_view_id.is_not(None))
        .order_by(t.inputs.c.saved_query_id, t.inputs.c.position)
    )
    read_by: dict[UUID, list[UUID]] = {}
    for reader, input_view in await tx.execute(read):
        read_by.setdefault(reader, []).append(input_view)
    nodes = select(
        *(view.c.id, view.c.name, view.c.sync_frequency, view.c.current_snapshot_id),
        *(view.c.freshness, view.c.max_staleness, view.c.data_as_of),
    )
    return ViewGraph(
        {
            row.id: ViewNode(
                name=row.name,
                is_materialized=row.sync_frequency is not None,
                has_result=row.current_snapshot_id is not None,
                views=tuple(read_by.get(row.id, ())),
                freshness=Freshness(row.freshness),
                max_staleness=SyncFrequency(row.max_staleness).interval if row.max_staleness else timedelta(0),
                data_as_of=row.data_as_of,
            )
            for row in await tx.execute(nodes.where(*live))
        }
    )


async def settle(tx: Transaction, generation_ids: Iterable[UUID | None]) -> None:
    """End those of the generations that have begun and have no open run, and forget what their steps passed on."""
    some = [one for one in set(generation_ids) if one is not None]
    if some:
        await tx.execute(_settle_stmt(), {"generations": some})


async def close(tx: Transaction, generation_id: UUID, status: GenerationStatus) -> None:
    """End a generation that has no open run, also if it never began."""
    change = update(t.generations).where(
        t.generations.c.id == generation_id, t.generations.c.status == GenerationStatus.RUNNING, ~_has_open_run()
    )
    await tx.execute(change.values(status=status, finished_at=func.clock_timestamp()))


def _has_open_run() -> ColumnElement[bool]:
    return exists().where(t.runs.c.generation_id == t.generations.c.id, t.runs.c.status == RunStatus.RUNNING)


def _select() -> Select[Any]:
    return select(*_COLUMNS)


def _generation(row: Row[Any]) -> Generation:
    return Generation.model_validate(row._mapping)


def _phase() -> ColumnElement[str]:
    return case(
        (t.run_plans.c.snapshot.is_not(None), MemberPhase.WRITTEN),
        (t.run_plans.c.unchanged_id.is_not(None), MemberPhase.UNCHANGED),
        (t.runs.c.attempt > 0, MemberPhase.QUERYING),
        else_=MemberPhase.WAITING,
    )


def _written_at() -> ColumnElement[datetime]:
    """When the rows of a run were written: before its publication they are in the plan only."""
    planned = cast(t.run_plans.c.snapshot["created_at"].astext, DateTime(timezone=True))
    return func.coalesce(t.snapshots.c.created_at, planned)


# Each of these is cached: building the statement takes longer than running it.


@cache
def _ensure_stmt() -> Any:  # noqa: ANN401 - the statement's type is as long as the statement
    new = insert(t.generations).values(started_at=func.clock_timestamp(), created_at=func.clock_timestamp())
    return new.on_conflict_do_nothing(index_elements=["id"])


@cache
def _settle_stmt() -> Any:  # noqa: ANN401 - as above
    def number(status: RunStatus) -> ColumnElement[int]:
        return func.count().filter(t.runs.c.status == status)

    failed, cancelled, completed = map(number, (RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.COMPLETED))
    some = t.runs.c.generation_id == func.any(bindparam("generations", type_=ARRAY(Uuid)))
    ended = (
        select(
            t.runs.c.generation_id,
            case(
                ((failed + cancelled == 0) & (completed > 0), GenerationStatus.COMPLETED),
                (failed + cancelled == 0, GenerationStatus.SKIPPED),
                (completed > 0, GenerationStatus.PARTIAL),
                (failed > 0, GenerationStatus.FAILED),
                else_=GenerationStatus.CANCELLED,
            ).label("status"),
        )
        .where(some)
        .group_by(t.runs.c.generation_id)
        .having(number(RunStatus.RUNNING) == 0)
        .subquery()
    )
    closed = (
        update(t.generations)
        .where(
            t.generations.c.id == ended.c.generation_id,
            t.generations.c.status == GenerationStatus.RUNNING,
            t.generations.c.started_at.is_not(None),
        )
        .values(status=ended.c.status, finished_at=func.clock_timestamp())
        .returning(t.generations.c.id)
        .cte("closed")
    )
    plans = (
        delete(t.run_plans)
        .where(t.run_plans.c.run_id == t.runs.c.id, t.runs.c.generation_id == closed.c.id)
        .returning(t.run_plans.c.run_id)
        .cte("plans")
    )
    pins = (
        delete(t.source_pins)
        .where(t.source_pins.c.generation_id == closed.c.id)
        .returning(t.source_pins.c.generation_id)
        .cte("pins")
    )
    return select(func.count()).select_from(closed).add_cte(plans, pins)
