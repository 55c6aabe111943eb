"""The plans of open runs, and the results that they have written: the steps of a run pass them to one another.

They are here and not in Temporal's history, since a generation may have thousands of members.
"""

from collections.abc import Collection, Iterable
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, Update, any_, bindparam, null, select, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.types import Uuid

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.model.batches import batches
from orchestrator.model.run import RunPlan, RunStatus
from orchestrator.model.snapshot import Snapshot

_NOT_STORED = {"previous"}
_MANY = 500


class StoredPlan(NamedTuple):
    """The plan of an open run, with what its query wrote, or the version that stays and why.

    The first `spent` of its attempts count as no tries: they were outdated, and have not failed.
    """

    plan: RunPlan
    spent: int
    written: Snapshot | None
    unchanged_id: UUID | None
    unchanged_reason: str | None


async def store(tx: Transaction, plans: Iterable[RunPlan]) -> None:
    """Store the plans of runs that have just begun. A run that has one already keeps that."""
    rows = [{"run_id": plan.run_id, "plan": plan.model_dump(mode="json", exclude=_NOT_STORED)} for plan in plans]
    for some in batches(rows, _MANY):
        await tx.execute(_store_stmt(), some)


async def load(tx: Transaction, run_id: UUID) -> StoredPlan | None:
    """The plan of a run, or None if the run is not open."""
    row = (await tx.execute(_load_stmt(), {"run": run_id})).one_or_none()
    if row is None:
        return None
    written = None if row.snapshot is None else Snapshot.model_validate(row.snapshot)
    plan = RunPlan.model_validate(row.plan)
    return StoredPlan(plan, row.spent, written, row.unchanged_id, row.unchanged_reason)


async def load_all(tx: Transaction, generation_id: UUID) -> list[StoredPlan]:
    """The plans of all open runs of a generation."""
    rows = await tx.execute(_stored().where(t.runs.c.generation_id == generation_id))
    return [
        StoredPlan(
            RunPlan.model_validate(row.plan),
            row.spent,
            None if row.snapshot is None else Snapshot.model_validate(row.snapshot),
            row.unchanged_id,
            row.unchanged_reason,
        )
        for row in rows
    ]


async def written(tx: Transaction, run_ids: Collection[UUID]) -> dict[UUID, Snapshot]:
    """The results that these runs have written, by run."""
    rows = await tx.execute(_written_stmt(), {"runs": list(run_ids)})
    return {row.run_id: Snapshot.model_validate(row.snapshot) for row in rows}


async def record_written(tx: Transaction, snapshot: Snapshot) -> bool:
    """Record what an attempt of an open run has sealed. False if the attempt may not publish any more."""
    values = {"run": snapshot.run_id, "attempt_of": snapshot.attempt, "sealed": snapshot.model_dump(mode="json")}
    return (await tx.execute(_record_stmt(), values)).one_or_none() is not None


async def record_unchanged(tx: Transaction, unchanged: Collection[tuple[UUID, UUID, str]]) -> None:
    """Record of open runs (run, version, reason) that the version of their view stays as it is."""
    if unchanged:
        rows = [{"run": run, "unchanged_id": version, "unchanged_reason": reason} for run, version, reason in unchanged]
        await tx.execute(_unchanged_stmt(), rows)


async def record_still_unchanged(tx: Transaction, run_id: UUID, attempt: int, version: UUID, reason: str) -> bool:
    """Record what an attempt of an open run found: the version stays. False if the attempt may not publish any more."""
    values = {"unchanged_id": version, "unchanged_reason": reason}
    return (await tx.execute(_of_attempt(values), {"run": run_id, "attempt_of": attempt})).one_or_none() is not None


async def reset(tx: Transaction, run_ids: Collection[UUID]) -> None:
    """Forget what these runs have written, so that they run again.

    Attempts that are still in progress lose the right to record a result: theirs would be outdated.
    """
    begun = update(t.runs).where(t.runs.c.id.in_(run_ids), t.runs.c.status == RunStatus.RUNNING, t.runs.c.attempt > 0)
    await tx.execute(begun.values(attempt=t.runs.c.attempt + 1))
    spent = select(t.runs.c.attempt).where(t.runs.c.id == t.run_plans.c.run_id).scalar_subquery()
    change = update(t.run_plans).where(t.run_plans.c.run_id.in_(run_ids))
    await tx.execute(change.values(snapshot=null(), unchanged_id=None, unchanged_reason=None, spent=spent))


def _stored() -> Select[Any]:
    return (
        select(t.run_plans)
        .join(t.runs, t.runs.c.id == t.run_plans.c.run_id)
        .where(t.runs.c.status == RunStatus.RUNNING)
    )


# Each of these is cached: building the statement takes longer than running it.


@cache
def _store_stmt() -> Any:  # noqa: ANN401 - the statement's type is as long as the statement
    return insert(t.run_plans).on_conflict_do_nothing()


@cache
def _load_stmt() -> Select[Any]:
    return _stored().where(t.runs.c.id == bindparam("run"))


@cache
def _written_stmt() -> Select[Any]:
    mine = t.run_plans.c.run_id == any_(bindparam("runs", type_=ARRAY(Uuid)))
    return select(t.run_plans.c.run_id, t.run_plans.c.snapshot).where(mine, t.run_plans.c.snapshot.is_not(None))


@cache
def _record_stmt() -> Any:  # noqa: ANN401 - as above
    return _of_attempt({"snapshot": bindparam("sealed", type_=JSONB)})


def _of_attempt(values: dict[str, Any]) -> Any:  # noqa: ANN401 - as above
    """A change of the row of an open run, if this attempt is its last."""
    return (
        update(t.run_plans)
        .where(
            t.run_plans.c.run_id == bindparam("run"),
            t.runs.c.id == t.run_plans.c.run_id,
            t.runs.c.status == RunStatus.RUNNING,
            t.runs.c.attempt == bindparam("attempt_of"),
        )
        .values(values)
        .returning(t.run_plans.c.run_id)
    )


@cache
def _unchanged_stmt() -> Update:
    """SQLAlchemy adds `unchanged_id` and `unchanged_reason` to the SET clause."""
    return update(t.run_plans).where(t.run_plans.c.run_id == bindparam("run"))
