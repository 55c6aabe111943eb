"""The conditions of a project's views: what runs, fails, is paused or stale, and why."""

import asyncio
import time
from uuid import UUID

from orchestrator.catalog import conditions, saved_queries
from orchestrator.catalog.database import Database
from orchestrator.model.condition import ScheduleGlance, ViewCondition
from orchestrator.model.errors import TemporalUnavailable
from orchestrator.temporal.schedule_state import ListedSchedule, is_failure_note
from orchestrator.temporal.schedules import Schedules

# The pages of one listing are requested one after another. Only the first has Temporal list the schedules again.
_REUSED_SECONDS = 10.0
# Ten thousand schedules take two seconds; other requests wait for the same listing.
_LISTING_SECONDS = 10.0


class ConditionService:
    """The conditions of the views of every project."""

    def __init__(self, database: Database, schedules: Schedules) -> None:
        self._database = database
        self._schedules = schedules
        self._listing = asyncio.Lock()
        self._listed: dict[UUID, ListedSchedule] = {}
        self._listed_at = float("-inf")

    async def page(
        self, project_id: int, *, search: str | None, name: str | None, limit: int, offset: int
    ) -> tuple[int, list[ViewCondition]]:
        """The number of live views that match and the conditions of one page of them, newest first."""
        async with self._database.begin() as tx:
            count, views = await saved_queries.page(
                tx, project_id, search=search, name=name, limit=limit, offset=offset
            )
            inputs = await conditions.inputs_of(tx, [view.id for view in views if view.is_materialized])
        listed = await self._schedules_of_all(reuse=offset > 0) if any(view.is_materialized for view in views) else {}
        found = ((view, listed.get(view.id)) for view in views)
        return count, [
            ViewCondition(
                view=view, inputs=inputs.get(view.id, ()), schedule=None if schedule is None else _glance(schedule)
            )
            for view, schedule in found
        ]

    async def _schedules_of_all(self, *, reuse: bool) -> dict[UUID, ListedSchedule]:
        """The schedules of all views; none if Temporal does not answer, since the rest must not depend on it.

        Requests that wait for one another share a listing.
        """
        asked_at = time.monotonic()
        async with self._listing:
            is_recent = self._listed_at > asked_at or (reuse and asked_at - self._listed_at < _REUSED_SECONDS)
            if not is_recent:
                self._listed_at = time.monotonic()
                try:
                    async with asyncio.timeout(_LISTING_SECONDS):
                        self._listed = await self._schedules.list_all()
                except (TemporalUnavailable, TimeoutError):
                    self._listed = {}
            return self._listed


def _glance(schedule: ListedSchedule) -> ScheduleGlance:
    return ScheduleGlance(
        paused=schedule.paused,
        reason=schedule.note if schedule.paused else None,
        by_policy=schedule.paused and is_failure_note(schedule.note),
        next_run_at=schedule.next_run_at,
    )
