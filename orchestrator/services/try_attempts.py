"""Attempts to write the edited view of a try, or one of its members."""

from uuid import UUID

from orchestrator.catalog import source_pins, try_attempts
from orchestrator.catalog.database import Database
from orchestrator.catalog.run_plans import Outcome, StoredPlan
from orchestrator.model.check import not_published
from orchestrator.model.errors import ChecksFailed, RunSuperseded
from orchestrator.services.attempts import Attempt, attempt_of
from orchestrator.services.member_plans import waited_for


class TryAttempts:
    """The attempts of tries. Each writes: that nothing has changed is no reason to have no result to look at."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, run_id: UUID) -> Attempt | StoredPlan:
        """See Attempts. Of the members of its try, it reads what they have written, never what is published."""
        async with self._database.begin() as tx:
            claimed = await try_attempts.claim(tx, run_id)
            if claimed is None:
                stored = await try_attempts.load(tx, run_id)
                if stored is not None and (stored.written is not None or stored.plan.fault is not None):
                    return stored
                raise RunSuperseded
            plan = claimed.plan
            parents = [one.run_id for one in waited_for(plan)]
            # Read after the lock: what a parent had written may have been forgotten while this attempt waited.
            found = await try_attempts.results(tx, parents) if parents else {}
            if len(found) < len(parents):
                raise RunSuperseded
            tables = {one.id for one in (*plan.relations, *plan.check_relations) if one.kind == "source"}
            pins = await source_pins.rounds(tx, {plan.generation_id}, tables) if tables else {}
        return attempt_of(claimed, found, pins)

    async def record(self, outcome: Outcome) -> None:
        """See Attempts. Raises ChecksFailed for a result that could not be promoted."""
        if outcome.written is None:
            raise RunSuperseded
        reason = not_published(outcome.checks)
        if reason is not None:
            raise ChecksFailed(reason)
        async with self._database.begin() as tx:
            is_recorded = await try_attempts.record(tx, outcome.written)
        if not is_recorded:
            raise RunSuperseded

    async def release(self, run_id: UUID, number: int) -> None:
        """See Attempts."""
        async with self._database.single() as tx:
            await try_attempts.release(tx, run_id, number)
