"""Alignment: making Temporal what the catalog wants, and the catalog what Temporal knows.

Both are done in passing, by whoever asks about a view, and for everything by the reconciler. They live here once, so
that the two can never disagree about what is right.
"""

import time
from uuid import UUID

from orchestrator.catalog import pauses, runs, saved_queries
from orchestrator.catalog.database import Database
from orchestrator.model.errors import TemporalBusy
from orchestrator.model.run import Run, RunStatus
from orchestrator.model.saved_query import DEFAULT_FREQUENCY, SyncFrequency, Wish
from orchestrator.model.sharing import Shared
from orchestrator.temporal.executions import Ending, Executions
from orchestrator.temporal.schedules import Schedules
from orchestrator.temporal.wanted import WantedSchedule

# How long others may go on changing the view's frequency before those who wait are sent away.
_PATIENCE_SECONDS = 30.0


class Alignment:
    """What is wanted lives in PostgreSQL, what is the case in Temporal."""

    def __init__(self, database: Database, schedules: Schedules, executions: Executions) -> None:
        self._database = database
        self._schedules = schedules
        self._executions = executions
        self._aligning: Shared[UUID, None] = Shared()

    async def align(self, saved_query_id: UUID) -> None:
        """Make the schedule of a view what the catalog wants now, whoever wanted it.

        Many may change one view at once. Each needs that the schedule is brought in line after its own change was
        committed, and one go does that for all of them. Raises TemporalUnavailable.
        """
        await self._aligning.call(saved_query_id, lambda: self._align(saved_query_id))

    async def _align(self, saved_query_id: UUID) -> None:
        """The catalog's wish may change while the schedule is being changed.

        Every process reads it again after acting, so the last to act has acted on the last wish.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        wanted = await self._wanted(saved_query_id)
        while time.monotonic() < deadline:
            if wanted is not None:
                await self._schedules.ensure(wanted)
            else:
                await self._schedules.delete(saved_query_id)
            acted_on, wanted = wanted, await self._wanted(saved_query_id)
            if wanted == acted_on:
                return
        raise TemporalBusy("What is wanted of the view is being changed all the time. Try again in a moment.")

    async def ending(self, run: Run) -> Ending | None:
        """How a run that the catalog calls Running has ended without a word; None if it has not, or is not Running."""
        if run.status is not RunStatus.RUNNING:
            return None
        ending = await self._executions.ending(run.saved_query_id, run.workflow_run_id)
        if ending is not None and ending.status is RunStatus.COMPLETED:
            return Ending(status=RunStatus.FAILED, error="The run's result is missing.", error_code="run_lost")
        return ending

    async def settle(self, run: Run) -> Run:
        """The run, closed first if its workflow ended without a word, as after an operator's terminate."""
        ending = await self.ending(run)
        if ending is None:
            return run
        async with self._database.begin() as tx:
            # A run that completed while we asked is over already, and this leaves it so.
            failed = ending.status is RunStatus.FAILED
            await runs.close(tx, run.id, ending.status, ending.error, ending.error_code, policy_due=failed)
            return await runs.get(tx, run.id)

    async def _wanted(self, saved_query_id: UUID) -> WantedSchedule | None:
        async with self._database.begin() as tx:
            wish = await saved_queries.find_wish(tx, saved_query_id)
            if wish is None or wish.sync_frequency is None:
                return None
            return wanted_schedule(wish, await pauses.note_of(tx, saved_query_id))


def wanted_schedule(wish: Wish, paused_note: str | None = None) -> WantedSchedule:
    """What a materialized view's schedule is to be. `paused_note` is that of the pause it was last seen with."""
    frequency = wish.sync_frequency or DEFAULT_FREQUENCY
    return WantedSchedule(
        saved_query_id=wish.id,
        project_id=wish.project_id,
        name=wish.name,
        interval=frequency.interval,
        never=frequency is SyncFrequency.NEVER,
        paused_note=paused_note,
    )
