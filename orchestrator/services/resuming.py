"""Lifting the pause of a view's schedule, because a person asks for it or has changed the view."""

from dataclasses import dataclass

from orchestrator.catalog import failure_streaks, saved_pauses
from orchestrator.catalog.audit_log import record
from orchestrator.catalog.database import Database
from orchestrator.model.audit import Verb
from orchestrator.model.principal import User
from orchestrator.model.printable import one_line
from orchestrator.model.saved_query import SavedQuery
from orchestrator.temporal.schedules import Schedules


@dataclass(frozen=True)
class ScheduleResumption:
    """Lifts pauses of any project, and records each that it lifts in the view's activity."""

    database: Database
    schedules: Schedules

    async def resume(self, view: SavedQuery, user: User) -> bool:
        """Lift any pause of the schedule, and start a new failure streak. False if the schedule was not paused.

        Raises TemporalUnavailable.
        """
        async with self.database.begin() as tx:  # first, or the next failure could pause it again
            await failure_streaks.reset_failure_streak(tx, view.id)
            await saved_pauses.forget(tx, [view.id])
        was_paused = await self.schedules.unpause(view.id, f"Resumed by {one_line(user.email)} over the API.")
        if was_paused:
            await self._record(view, user)
        return was_paused

    async def resume_after_edit(self, view: SavedQuery, user: User) -> None:
        """Lift a pause that the failure policy made, since the view's query has changed: it may not fail any more.

        `view` is as it is after the edit, and materialized. Raises TemporalUnavailable; the next run that succeeds
        lifts the pause then.
        """
        why = f"Resumed, because {one_line(user.email)} changed the query (revision {view.revision.number})."
        if await self.schedules.unpause_after_failures(view.id, why):
            await self._record(view, user)

    async def _record(self, view: SavedQuery, user: User) -> None:
        async with self.database.begin() as tx:
            await record(tx, view, Verb.SYNC_RESUMED, user)
            await saved_pauses.forget(tx, [view.id])
