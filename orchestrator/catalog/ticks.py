"""Ticks of schedules: those that wait for others of their project, and those that follow a generation."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import RUN_COLUMNS
from orchestrator.model.freshness import Freshness
from orchestrator.model.run import Run
from orchestrator.model.saved_query import SyncFrequency
from orchestrator.model.tick import Tick


class WaitingTick(NamedTuple):
    """A tick that has no generation yet, with the seconds that it has waited."""

    workflow_run_id: UUID
    saved_query_id: UUID
    seconds: float


class FollowingTick(NamedTuple):
    """A tick whose view is in a generation, with the run of the view there, if there is one."""

    tick: Tick
    run: Run | None


async def ensure(tx: Transaction, tick: Tick, project_id: int) -> UUID | None:
    """Store a tick that waits, unless it is stored; returns the generation that it follows."""
    row = {
        "id": tick.workflow_run_id,
        "workflow_id": tick.workflow_id,
        "project_id": project_id,
        "saved_query_id": tick.saved_query_id,
        "scheduled_for": tick.scheduled_for,
    }
    new = insert(t.ticks).values(created_at=func.clock_timestamp(), **row)
    await tx.execute(new.on_conflict_do_nothing(index_elements=["id"]))
    return await tx.scalar(select(t.ticks.c.generation_id).where(t.ticks.c.id == tick.workflow_run_id))


async def waiting(tx: Transaction, project_id: int, asking: UUID, at_most: timedelta) -> list[WaitingTick]:
    """The ticks of a project that have no generation yet, the first first.

    Those that have waited for longer than `at_most` are left out, except the one that is `asking`.
    """
    seconds = func.extract("epoch", func.clock_timestamp() - t.ticks.c.created_at)
    query = select(t.ticks.c.id, t.ticks.c.saved_query_id, seconds).where(
        t.ticks.c.project_id == project_id,
        t.ticks.c.generation_id.is_(None),
        (t.ticks.c.created_at > func.clock_timestamp() - at_most) | (t.ticks.c.id == asking),
    )
    return [
        WaitingTick(row[0], row[1], float(row[2])) for row in await tx.execute(query.order_by(t.ticks.c.created_at))
    ]


async def follow(tx: Transaction, workflow_run_ids: Collection[UUID], generation_id: UUID) -> None:
    """Record the generation that these ticks follow."""
    change = update(t.ticks).where(t.ticks.c.id.in_(workflow_run_ids))
    await tx.execute(change.values(generation_id=generation_id))


async def remove(tx: Transaction, workflow_run_ids: Collection[UUID]) -> None:
    """Forget ticks."""
    await tx.execute(delete(t.ticks).where(t.ticks.c.id.in_(workflow_run_ids)))


async def remove_old(tx: Transaction, older_than: timedelta) -> None:
    """Forget ticks whose workflow ended without saying so, as after a terminate."""
    ended = select(t.generations.c.id).where(
        t.generations.c.finished_at < func.clock_timestamp() - older_than,
    )
    lost = t.ticks.c.generation_id.is_(None) & (t.ticks.c.created_at < func.clock_timestamp() - older_than)
    await tx.execute(delete(t.ticks).where(lost | t.ticks.c.generation_id.in_(ended)))


async def scheduled_times(tx: Transaction, generation_id: UUID) -> dict[UUID, datetime]:
    """The times of the ticks that follow a generation, by view."""
    mine = (t.ticks.c.generation_id == generation_id, t.ticks.c.scheduled_for.is_not(None))
    rows = await tx.execute(select(t.ticks.c.saved_query_id, t.ticks.c.scheduled_for).where(*mine))
    return {row.saved_query_id: row.scheduled_for for row in rows}


async def of_generation(tx: Transaction, generation_id: UUID) -> list[FollowingTick]:
    """The ticks that follow a generation."""
    return await _following(tx, t.ticks.c.generation_id == generation_id)


async def is_alone(tx: Transaction, project_id: int) -> bool:
    """Whether only one view of the project has ticks, and none is refreshed together with another one."""
    view = t.saved_queries.c
    concerned = (view.sync_frequency != SyncFrequency.NEVER) | (view.freshness != Freshness.CLOCK)
    query = select(view.freshness).where(view.project_id == project_id, view.deleted_at.is_(None), concerned)
    found = list(await tx.scalars(query.limit(2)))
    return len(found) <= 1 and Freshness.UPSTREAM not in found and Freshness.FOLLOW not in found


async def _following(tx: Transaction, mine: ColumnElement[bool]) -> list[FollowingTick]:
    return [
        FollowingTick(
            Tick(
                saved_query_id=row.tick_view,
                workflow_id=row.tick_workflow,
                workflow_run_id=row.tick_id,
                scheduled_for=row.tick_time,
            ),
            None if row.status is None else Run.model_validate(row._mapping),
        )
        for row in await tx.execute(_following_stmt().where(mine))
    ]


def _following_stmt() -> Select[Any]:
    return (
        select(
            t.ticks.c.id.label("tick_id"),
            t.ticks.c.workflow_id.label("tick_workflow"),
            t.ticks.c.saved_query_id.label("tick_view"),
            t.ticks.c.scheduled_for.label("tick_time"),
            *RUN_COLUMNS,
        )
        .outerjoin(
            t.runs,
            (t.runs.c.generation_id == t.ticks.c.generation_id) & (t.runs.c.saved_query_id == t.ticks.c.saved_query_id),
        )
        .where(t.ticks.c.generation_id.is_not(None))
    )
