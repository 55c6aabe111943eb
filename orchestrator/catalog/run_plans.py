"""The plans of open runs, and the results that they have written: the steps of a run pass them to one another.

They are here and not in Temporal's history, since a generation may have thousands of members.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Integer, Select, Text, Update, any_, bindparam, null, select, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.types import Uuid

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import given, giving
from orchestrator.model.batches import batches
from orchestrator.model.check import CheckResult
from orchestrator.model.run import RunPlan, RunStatus
from orchestrator.model.snapshot import Snapshot

_NOT_STORED = {"previous"}
_MANY = 500


class StoredPlan(NamedTuple):
    """The plan of an open run, with what its query wrote, or the version that stays and why.

    `spent` of its attempts count as no tries: they were outdated, or had to wait, and have not failed.
    """

    plan: RunPlan
    spent: int
    written: Snapshot | None
    unchanged_id: UUID | None
    unchanged_reason: str | None
    checks: tuple[CheckResult, ...] = ()


class ClaimedPlan(NamedTuple):
    """The plan of an open run, and the attempt that may write its result now.

    `tries` counts it and the earlier ones that have failed.
    """

    plan: RunPlan
    attempt: int
    tries: int


@dataclass(frozen=True, eq=False)
class Outcome:
    """The finding of an attempt: the version that it has sealed and what its checks found, or the one that stays."""

    run_id: UUID
    attempt: int
    written: Snapshot | None = None
    unchanged_id: UUID | None = None
    unchanged_reason: str | None = None
    checks: tuple[CheckResult, ...] = ()


async def store(tx: Transaction, plans: Iterable[RunPlan]) -> None:
    """Store the plans of runs that have just begun. A run that has one already keeps that."""
    rows = [{"run_id": plan.run_id, "plan": plan.model_dump(mode="json", exclude=_NOT_STORED)} for plan in plans]
    for some in batches(rows, _MANY):
        await tx.execute(_store_stmt(), giving(some))


async def load(tx: Transaction, run_id: UUID) -> StoredPlan | None:
    """The plan of a run, or None if the run is not open."""
    row = (await tx.execute(_load_stmt(), {"run": run_id})).one_or_none()
    if row is None:
        return None
    written = None if row.snapshot is None else Snapshot.model_validate(row.snapshot)
    plan = RunPlan.model_validate(row.plan)
    return StoredPlan(plan, row.spent, written, row.unchanged_id, row.unchanged_reason, results_of(row.checks))


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
            results_of(row.checks),
        )
        for row in rows
    ]


async def results(tx: Transaction, run_ids: Collection[UUID]) -> dict[UUID, Snapshot | None]:
    """The results of those of the runs that have one: what they have written, or None if their view's version stays."""
    rows = await tx.execute(_results_stmt(), {"runs": list(run_ids)})
    return {row.run_id: None if row.snapshot is None else Snapshot.model_validate(row.snapshot) for row in rows}


async def claim(tx: Transaction, run_ids: Collection[UUID]) -> dict[UUID, ClaimedPlan]:
    """The plans of those open runs that can run and have written nothing yet, each with a new attempt (1 is the first).

    It takes the right to publish from every earlier one. Temporal's own count starts again when an operator resets an
    activity. With this count, no two attempts that write have the same number, and so the same location in the store.
    """
    return {
        row.run_id: ClaimedPlan(RunPlan.model_validate(row.plan), row.attempt, row.attempt - row.spent)
        for row in await tx.execute(_claim_stmt(), {"runs": list(run_ids)})
    }


async def record(tx: Transaction, outcomes: Collection[Outcome]) -> set[UUID]:
    """Record what attempts have found; returns their runs, without those whose attempt may not publish any more."""
    rows = [
        {
            "run": one.run_id,
            "attempt": one.attempt,
            "snapshot": one.written,
            "unchanged_id": one.unchanged_id,
            "unchanged_reason": one.unchanged_reason,
            "checks": one.checks or None,
        }
        for one in outcomes
    ]
    return set(await tx.scalars(_record_stmt(), giving(rows)))


async def record_unchanged(tx: Transaction, unchanged: Collection[tuple[UUID, UUID, str]]) -> None:
    """Record of open runs (run, version, reason) that the version of their view stays as it is."""
    if unchanged:
        rows = [{"run": run, "unchanged_id": version, "unchanged_reason": reason} for run, version, reason in unchanged]
        await tx.execute(_unchanged_stmt(), giving(rows))


async def reset(tx: Transaction, run_ids: Collection[UUID]) -> None:
    """Forget what these runs have written, so that they run again.

    Attempts that are still in progress lose the right to record a result: theirs would be outdated.
    """
    mine = (t.runs.c.id.in_(run_ids), t.runs.c.status == RunStatus.RUNNING)
    # Those that have not begun too: an attempt that begins now must not read what is being forgotten.
    await tx.execute(select(t.runs.c.id).where(*mine).order_by(t.runs.c.id).with_for_update())
    await tx.execute(update(t.runs).where(*mine, t.runs.c.attempt > 0).values(attempt=t.runs.c.attempt + 1))
    spent = select(t.runs.c.attempt).where(t.runs.c.id == t.run_plans.c.run_id).scalar_subquery()
    change = update(t.run_plans).where(t.run_plans.c.run_id.in_(run_ids))
    await tx.execute(
        change.values(snapshot=null(), unchanged_id=None, unchanged_reason=None, checks=null(), spent=spent)
    )


def results_of(stored: Any) -> tuple[CheckResult, ...]:  # noqa: ANN401 - JSON
    """The results of checks as a plan's row has them."""
    return tuple(map(CheckResult.model_validate, stored or ()))


def _stored() -> Select[Any]:
    return (
        select(t.run_plans)
        .join(t.runs, t.runs.c.id == t.run_plans.c.run_id)
        .where(t.runs.c.status == RunStatus.RUNNING)
    )


# Each of these is cached: building the statement takes longer than running it.


@cache
def _store_stmt() -> Any:  # noqa: ANN401 - the statement's type is as long as the statement
    rows = given(run_id=Uuid(), plan=JSONB())
    return insert(t.run_plans).from_select(["run_id", "plan"], select(*rows.c)).on_conflict_do_nothing()


@cache
def _load_stmt() -> Select[Any]:
    return _stored().where(t.runs.c.id == bindparam("run"))


@cache
def _results_stmt() -> Select[Any]:
    plan = t.run_plans.c
    mine = plan.run_id == any_(bindparam("runs", type_=ARRAY(Uuid)))
    done = plan.snapshot.is_not(None) | plan.unchanged_id.is_not(None)
    return select(plan.run_id, plan.snapshot).where(mine, done)


@cache
def _claim_stmt() -> Any:  # noqa: ANN401 - as above
    # Locked in one order, so that two of these cannot wait for each other.
    mine = (
        select(t.runs.c.id)
        .join(t.run_plans, t.run_plans.c.run_id == t.runs.c.id)
        .where(
            t.runs.c.id == any_(bindparam("runs", type_=ARRAY(Uuid))),
            t.runs.c.status == RunStatus.RUNNING,
            t.run_plans.c.snapshot.is_(None),
            t.run_plans.c.plan["fault"].astext.is_(None),
        )
        .order_by(t.runs.c.id)
        .with_for_update(of=t.runs)
        .cte("mine")
    )
    return (
        update(t.runs)
        .where(t.runs.c.id == mine.c.id, t.run_plans.c.run_id == mine.c.id)
        .values(attempt=t.runs.c.attempt + 1)
        .returning(t.run_plans.c.run_id, t.run_plans.c.plan, t.run_plans.c.spent, t.runs.c.attempt)
    )


@cache
def _record_stmt() -> Any:  # noqa: ANN401 - as above
    """The rows of the runs are locked first: only so is their attempt the last one when the change is made."""
    changed: dict[str, Any] = {
        "snapshot": JSONB(),
        "unchanged_id": Uuid(),
        "unchanged_reason": Text(),
        "checks": JSONB(),
    }
    found = given(run=Uuid(), attempt=Integer(), **changed)
    mine = (
        select(t.runs.c.id)
        .join(found, found.c.run == t.runs.c.id)
        .where(t.runs.c.status == RunStatus.RUNNING, t.runs.c.attempt == found.c.attempt)
        .order_by(t.runs.c.id)
        .with_for_update(of=t.runs, key_share=True)
        .cte("mine")
    )
    return (
        update(t.run_plans)
        .where(t.run_plans.c.run_id == mine.c.id, found.c.run == mine.c.id)
        .values({name: found.c[name] for name in changed})
        .returning(t.run_plans.c.run_id)
    )


@cache
def _unchanged_stmt() -> Update:
    rows = given(run=Uuid(), unchanged_id=Uuid(), unchanged_reason=Text())
    values = {name: rows.c[name] for name in ("unchanged_id", "unchanged_reason")}
    return update(t.run_plans).where(t.run_plans.c.run_id == rows.c.run).values(values)
