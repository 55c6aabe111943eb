"""The part of tries that workers write: attempts, results, and the end without one.

Each function that ends a member ends with it what its try holds, once no other one runs: its lease on the versions that
it reads, and its pins of source files.
"""

from collections.abc import Collection, Iterable
from uuid import UUID

from sqlalchemy import ColumnElement, cast, func, null, select, update
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.catalog import reads, source_pins, tables as t, tries
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.run_plans import ClaimedPlan, StoredPlan
from orchestrator.model.edit_try import EditTry, TryEnd, TryStatus
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunPlan
from orchestrator.model.snapshot import Snapshot

_TRY = t.tries.c
_HAS_PLAN = _TRY.status.in_([TryStatus.RUNNING, TryStatus.READY])


async def begin(
    tx: Transaction, try_id: UUID, workflow_run_id: UUID, timeout_seconds: float, limits: Limits
) -> list[StoredPlan]:
    """Record which workflow runs a try, and its limits; returns its plans, none if it was ended before.

    It may be repeated: a member that is written stays so.
    """
    decided = {"timeout_seconds": timeout_seconds, "limits": limits.model_dump(mode="json")}
    change = update(t.tries).where(tries.is_of(try_id), _TRY.status == TryStatus.RUNNING, ~tries.is_removed_now())
    plan = _TRY.plan.op("||")(cast(decided, JSONB))
    began = (await tx.scalars(change.values(workflow_run_id=workflow_run_id, plan=plan).returning(_TRY.id))).all()
    return await load_all(tx, try_id) if began else []


async def load_all(tx: Transaction, try_id: UUID) -> list[StoredPlan]:
    """The plans of the members of a try that run or are written, the edited view's first."""
    query = select(_TRY.plan, _TRY.spent, _TRY.snapshot).where(tries.is_of(try_id), _HAS_PLAN)
    return [_stored(*row) for row in await tx.execute(query.order_by(_TRY.position))]


async def load(tx: Transaction, member_id: UUID) -> StoredPlan | None:
    """The plan of a member that runs or is written."""
    query = select(_TRY.plan, _TRY.spent, _TRY.snapshot).where(_TRY.id == member_id, _HAS_PLAN)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else _stored(*row)


async def claim(tx: Transaction, member_id: UUID) -> ClaimedPlan | None:
    """A new attempt of a running member (1 is the first). It takes the right to record a result from earlier ones.

    None if the member has ended, or its plan has a fault.
    """
    can_run = (*_is_running(member_id), _TRY.plan["fault"].astext.is_(None))
    change = update(t.tries).where(*can_run).values(attempt=_TRY.attempt + 1)
    row = (await tx.execute(change.returning(_TRY.plan, _TRY.attempt, _TRY.spent))).one_or_none()
    return None if row is None else ClaimedPlan(RunPlan.model_validate(row.plan), row.attempt, row.attempt - row.spent)


async def results(tx: Transaction, member_ids: Collection[UUID]) -> dict[UUID, Snapshot]:
    """The results of those of these members that have one."""
    query = select(_TRY.id, _TRY.snapshot).where(_TRY.id.in_(member_ids), _TRY.status == TryStatus.READY)
    return {row.id: Snapshot.model_validate(row.snapshot) for row in await tx.execute(query)}


async def release(tx: Transaction, member_id: UUID, attempt: int) -> None:
    """Let an attempt that wrote nothing not count as a try, unless a later one has begun. See `release_attempt`."""
    change = update(t.tries).where(*_is_running(member_id), _TRY.attempt == attempt)
    await tx.execute(change.values({"attempt": 0} if attempt == 1 else {"spent": _TRY.spent + 1}))


async def record(tx: Transaction, snapshot: Snapshot) -> bool:
    """Record what an attempt has written, and end the member. False if the attempt may not any more."""
    root = await _lock(tx, snapshot.run_id)
    mine = (*_is_running(snapshot.run_id), _TRY.attempt == snapshot.attempt)
    values = {"snapshot": snapshot.model_dump(mode="json"), "status": TryStatus.READY}
    change = update(t.tries).where(*mine).values(**values, finished_at=func.clock_timestamp())
    recorded = await tx.scalar(change.returning(_TRY.id)) is not None
    if recorded:
        await _settle(tx, root)
    return recorded


async def reset(tx: Transaction, try_id: UUID, member_ids: Collection[UUID]) -> None:
    """Forget what these members have written, so that they run again.

    Attempts that are still in progress lose the right to record a result: theirs would be outdated.
    """
    await _lock(tx, try_id)
    mine = (_TRY.id.in_(member_ids), _HAS_PLAN)
    await tx.execute(update(t.tries).where(*mine, _TRY.attempt > 0).values(attempt=_TRY.attempt + 1))
    again = {"status": TryStatus.RUNNING, "finished_at": null(), "snapshot": null(), "spent": _TRY.attempt}
    await tx.execute(update(t.tries).where(*mine).values(again))


async def close(tx: Transaction, ends: Iterable[TryEnd]) -> list[EditTry]:
    """End members that have no result, unless they have ended; returns them as they are.

    The end of the edited view is that of all members, since each of them reads it.
    """
    closed: list[EditTry] = []
    roots: set[UUID] = set()
    for end in ends:
        root = await _lock(tx, end.try_id)
        values = {"status": end.status, "error": end.error, "error_code": end.error_code}
        mine = (_TRY.id == end.try_id, _TRY.status == TryStatus.RUNNING)
        change = update(t.tries).where(*mine).values(**values, finished_at=func.clock_timestamp())
        if await tx.scalar(change.returning(_TRY.id)) is not None and root == end.try_id:
            await _close_members(tx, end)
        found = await tries.load(tx, end.try_id)
        closed += [found] if found else []
        roots.add(root)
    for root in roots:
        await _settle(tx, root)
    return closed


async def _close_members(tx: Transaction, end: TryEnd) -> None:
    was_cancelled = end.status is TryStatus.CANCELLED
    name = await tx.scalar(select(_TRY.plan["name"].astext).where(_TRY.id == end.try_id))
    values = (
        {"status": TryStatus.CANCELLED}
        if was_cancelled
        else {"status": TryStatus.SKIPPED, "error": f'"{name}" failed.'}
    )
    change = update(t.tries).where(_TRY.member_of == end.try_id, _TRY.status == TryStatus.RUNNING)
    await tx.execute(change.values(**values, finished_at=func.clock_timestamp()))


async def _lock(tx: Transaction, member_id: UUID) -> UUID:
    """Keep the other members of a try from ending until the transaction ends; returns the id of the try.

    Otherwise the last two could end at the same time, and neither would see that no other one runs.
    """
    root = await tx.scalar(select(func.coalesce(_TRY.member_of, _TRY.id)).where(_TRY.id == member_id))
    await tx.execute(select(_TRY.id).where(_TRY.id == root).with_for_update())
    return root or member_id


async def _settle(tx: Transaction, root: UUID) -> None:
    running = select(_TRY.id).where(tries.is_of(root), _TRY.status == TryStatus.RUNNING).limit(1)
    if await tx.scalar(running) is None:
        await reads.end(tx, root)
        await source_pins.forget(tx, root)


def _is_running(member_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return _TRY.id == member_id, _TRY.status == TryStatus.RUNNING, ~tries.is_removed_now()


def _stored(plan: object, spent: int, snapshot: object) -> StoredPlan:
    written = None if snapshot is None else Snapshot.model_validate(snapshot)
    return StoredPlan(RunPlan.model_validate(plan), spent, written, None, None)
