"""Attempts to write the result of a run: what they need from the catalog, and what they record in it.

Many run at a time in a worker, and each statement costs as much as a small query. So those that ask at the same time
share the statements.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from orchestrator.aio import Grouped
from orchestrator.catalog import run_plans, runs, snapshots, source_pins
from orchestrator.catalog.database import Database
from orchestrator.catalog.run_plans import ClaimedPlan, Outcome, StoredPlan
from orchestrator.catalog.snapshots import CurrentVersion
from orchestrator.model.errors import RunSuperseded, Transient
from orchestrator.model.run import RunPlan
from orchestrator.model.snapshot import Snapshot
from orchestrator.services.member_plans import resolved

_MOST = 100


class Attempt(NamedTuple):
    """An attempt that may write a run's result.

    `plan` names a version of each view that it reads. `unpublished` has the digests of the rows of those that the
    generation has written, by version; `pins` the number of the pin of each source table that is pinned already.
    `tries` counts this attempt and the earlier ones that have failed.
    """

    plan: RunPlan
    number: int
    tries: int
    current: CurrentVersion | None
    unpublished: Mapping[UUID, str | None]
    pins: Mapping[UUID, int]


class Attempts(Protocol):
    """The attempts of one kind: those of runs, or those of tries."""

    async def begin(self, run_id: UUID) -> Attempt | StoredPlan:
        """Begin an attempt, or return the plan that has a fault, or a result from an earlier attempt.

        Raises RunSuperseded if the run is not open, or if a view that it reads is to be written again first.
        """

    async def record(self, outcome: Outcome) -> None:
        """Record what an attempt has found. Raises RunSuperseded if it may not publish any more."""

    async def release(self, run_id: UUID, number: int) -> None:
        """Let an attempt that began and wrote nothing not count as a try."""


class RunAttempts:
    """The attempts of runs by one worker."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._claims = Grouped(self._claim, most=_MOST, shared=Transient)
        self._outcomes = Grouped(self._record, most=_MOST, shared=Transient)

    async def begin(self, run_id: UUID) -> Attempt | StoredPlan:
        """See Attempts."""
        attempt = await self._claims(run_id)
        if attempt is not None:
            return attempt
        async with self._database.single() as tx:
            stored = await run_plans.load(tx, run_id)
        if stored is not None and (stored.written is not None or stored.plan.fault is not None):
            return stored
        raise RunSuperseded

    async def record(self, outcome: Outcome) -> None:
        """See Attempts."""
        if await self._outcomes(outcome) is None:
            raise RunSuperseded

    async def release(self, run_id: UUID, number: int) -> None:
        """See Attempts."""
        async with self._database.single() as tx:
            await runs.release_attempt(tx, run_id, number)

    async def _claim(self, run_ids: Sequence[UUID]) -> Mapping[UUID, Attempt]:
        # In one transaction: until it ends, no pin is given up that one of these attempts has read.
        async with self._database.begin() as tx:
            claimed = await run_plans.claim(tx, run_ids)
            plans = [one.plan for one in claimed.values()]
            parents = [member.run_id for plan in plans for member in (*plan.members, *plan.check_members)]
            # Read after the lock: what a parent had written may have been forgotten while this attempt waited.
            found = await run_plans.results(tx, parents) if parents else {}
            tables = {
                one.id for plan in plans for one in (*plan.relations, *plan.check_relations) if one.kind == "source"
            }
            pins = await source_pins.rounds(tx, {plan.generation_id for plan in plans}, tables) if tables else {}
            current = await snapshots.current(tx, [plan.saved_query_id for plan in plans]) if plans else {}
        return {
            run_id: attempt_of(one, found, pins, current.get(one.plan.saved_query_id))
            for run_id, one in claimed.items()
            if all(member.run_id in found for member in (*one.plan.members, *one.plan.check_members))
        }

    async def _record(self, outcomes: Sequence[Outcome]) -> Mapping[Outcome, bool]:
        async with self._database.single() as tx:
            recorded = await run_plans.record(tx, outcomes)
        return {one: True for one in outcomes if one.run_id in recorded}


def attempt_of(
    claimed: ClaimedPlan,
    results: Mapping[UUID, Snapshot | None],
    pins: Mapping[UUID, Mapping[UUID, int]],
    current: CurrentVersion | None = None,
) -> Attempt:
    """An attempt of a claimed plan, with what the members have written that it reads, and the pins by generation."""
    plan = claimed.plan
    written = {run_id: snapshot for run_id, snapshot in results.items() if snapshot is not None}
    of_parents = [written[one.run_id] for one in plan.members if one.run_id in written]
    return Attempt(
        plan=resolved(plan, written),
        number=claimed.attempt,
        tries=claimed.tries,
        current=current,
        unpublished={one.id: one.content for one in of_parents},
        pins=pins.get(plan.generation_id, {}),
    )
