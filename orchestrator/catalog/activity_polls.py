"""All that runs, or began a moment ago, in some projects: for one poll that serves every open page of a process."""

from collections.abc import Collection
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Integer, Select, any_, bindparam, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.model.generation import GenerationStatus

# Longer than a poll may be late. A run that begins and ends between two polls is seen by it.
_RECENT = timedelta(seconds=20)
_MOST = 20_000


class PolledRun(NamedTuple):
    """A run of a recent generation, or the generation itself, where `view` is None as long as it has no runs."""

    project: int
    generation: UUID
    generation_status: str
    view: UUID | None
    run: UUID | None
    status: str | None
    attempt: int | None


async def recent_runs(tx: Transaction, projects: Collection[int]) -> list[PolledRun]:
    """The runs of the generations that are open, or were created within the last seconds."""
    rows = await tx.execute(_recent_stmt(), {"projects": list(projects)})
    return [PolledRun(*row) for row in rows]


async def recent_changes(tx: Transaction, projects: Collection[int]) -> list[tuple[int, UUID, UUID]]:
    """The last changes of views that the audit log has: the project, the view, and the id of the entry."""
    rows = await tx.execute(_changes_stmt(), {"projects": list(projects)})
    return [(row.project_id, row.item_id, row.id) for row in rows]


async def generations_of(tx: Transaction, ids: Collection[UUID]) -> dict[UUID, str]:
    """The statuses of generations."""
    query = select(t.generations.c.id, t.generations.c.status).where(t.generations.c.id.in_(ids))
    return {row.id: row.status for row in await tx.execute(query)}


@cache
def _recent_stmt() -> Select[Any]:
    generation, run = t.generations.c, t.runs.c
    return (
        select(
            *(generation.project_id, generation.id, generation.status),
            *(run.saved_query_id, run.id, run.status, run.attempt),
        )
        .outerjoin(t.runs, run.generation_id == generation.id)
        .where(
            generation.project_id == any_(bindparam("projects", type_=ARRAY(Integer))),
            or_(
                generation.status == literal(GenerationStatus.RUNNING),
                generation.created_at > func.now() - _RECENT,
            ),
        )
        .order_by(generation.created_at.desc())
        .limit(_MOST)
    )


@cache
def _changes_stmt() -> Select[Any]:
    entry = t.journal.c
    return select(entry.project_id, entry.item_id, entry.id).where(
        entry.project_id == any_(bindparam("projects", type_=ARRAY(Integer))), entry.created_at > func.now() - _RECENT
    )
