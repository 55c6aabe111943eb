"""Alignment: making Temporal what the catalog wants, and the catalog what Temporal knows.

Both are done in passing, by whoever asks about a view, and for everything by the reconciler. They live here once, so
that the two can never disagree about what is right.
"""

from uuid import UUID

from orchestrator.catalog import runs, saved_queries
from orchestrator.catalog.database import Database
from orchestrator.model.errors import TemporalUnavailable
from orchestrator.model.run import Run, RunStatus
from orchestrator.model.saved_query import DEFAULT_FREQUENCY, SyncFrequency, Wish
from orchestrator.temporal.executions import Ending, Executions
from orchestrator.temporal.schedules import Schedules
from orchestrator.temporal.wanted import WantedSchedule

_TRIES = 10


class Alignment:
    """What is wanted lives in PostgreSQL, what is the case in Temporal."""

    def __init__(self, database: Database, schedules: Schedules, executions: Executions) -> None:
        self._database = database
        self._schedules = schedules
        self._executions = executions

    async def align(self, saved_query_id: UUID) -> None:
        """Make the schedule of a view what the catalog wants now, whoever wanted it.

        What is wanted may change while the server is being told. Everybody reads it again after acting, so the last to
        act has acted on the last wish. Raises TemporalUnavailable.
        """
        wish = await self._wish(saved_query_id)
        for _ in range(_TRIES):
            if wish is not None and wish.sync_frequency is not None:
                await self._schedules.ensure(wanted_schedule(wish))
            else:
                await self._schedules.delete(saved_query_id)
            acted_on, wish = wish, await self._wish(saved_query_id)
            if wish == acted_on:
                return
        raise TemporalUnavailable("The schedule is being changed by somebody else. Try again in a moment.")

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
            await runs.close(tx, run.id, ending.status, ending.error, ending.error_code)
            return await runs.get(tx, run.id)

    async def _wish(self, saved_query_id: UUID) -> Wish | None:
        async with self._database.begin() as tx:
            return await saved_queries.find_wish(tx, saved_query_id)


def wanted_schedule(wish: Wish) -> WantedSchedule:
    """What a materialized view's schedule is to be."""
    frequency = wish.sync_frequency or DEFAULT_FREQUENCY
    return WantedSchedule(
        saved_query_id=wish.id,
        project_id=wish.project_id,
        name=wish.name,
        interval=frequency.interval,
        never=frequency is SyncFrequency.NEVER,
    )
