"""The conditions of a project's views: what runs, fails, is paused or stale, and why."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from orchestrator.catalog import conditions, saved_queries
from orchestrator.catalog.database import Database
from orchestrator.model.condition import InputState, ScheduleGlance, ViewCondition
from orchestrator.model.errors import TemporalUnavailable
from orchestrator.model.saved_query import SavedQuery
from orchestrator.temporal.schedule_state import ListedSchedule, is_failure_note
from orchestrator.temporal.schedules import Schedules

# The pages of one listing are requested one after another. Only the first has Temporal list the schedules again.
_REUSED_SECONDS = 10.0
# Ten thousand schedules take two seconds; other requests wait for the same listing.
_LISTING_SECONDS = 10.0
# How old a listing may be for pages that ask for it again and again: so long, or ten times what a listing takes. They
# wait for a newer one, but not longer than this; the very first of them waits longer.
_RECENT_SECONDS = 3.0
_SHARE = 10.0
_PATIENCE_SECONDS = 0.1
_FIRST_LISTING_SECONDS = 1.0


class ConditionService:
    """The conditions of the views of every project."""

    def __init__(self, database: Database, schedules: Schedules) -> None:
        self._database = database
        self._schedules = schedules
        self._listing = asyncio.Lock()
        self._listed: dict[UUID, ListedSchedule] = {}
        self._listed_at = float("-inf")
        self._renewal: asyncio.Task[None] | None = None
        self._lasts = _RECENT_SECONDS

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
        return count, _conditions(views, inputs, listed)

    async def of_views(self, project_id: int, ids: Sequence[UUID]) -> list[ViewCondition]:
        """The conditions of those of the ids that are live views of the project.

        Their schedules are those of a listing that may be some seconds old: a listing of ten thousand takes longer than
        a page may. A newer one is requested beside the request.
        """
        async with self._database.begin() as tx:
            views = await saved_queries.some(tx, project_id, ids)
            inputs = await conditions.inputs_of(tx, [view.id for view in views if view.is_materialized])
        return _conditions(views, inputs, await self._recent_schedules())

    async def close(self) -> None:
        """Wait for a listing that was begun beside a request."""
        if self._renewal is not None:
            await asyncio.gather(self._renewal, return_exceptions=True)

    async def _recent_schedules(self) -> dict[UUID, ListedSchedule]:
        is_recent = time.monotonic() - self._listed_at < self._lasts
        if not is_recent and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.create_task(self._renew())
        if self._renewal is not None and not self._renewal.done():
            first = self._listed_at == float("-inf")
            await asyncio.wait([self._renewal], timeout=_FIRST_LISTING_SECONDS if first else _PATIENCE_SECONDS)
        return self._listed

    async def _renew(self) -> None:
        began = time.monotonic()
        await self._schedules_of_all(reuse=False)
        self._lasts = max(_RECENT_SECONDS, _SHARE * (time.monotonic() - began))

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


def _conditions(
    views: Iterable[SavedQuery],
    inputs: Mapping[UUID, tuple[InputState, ...]],
    listed: Mapping[UUID, ListedSchedule],
) -> list[ViewCondition]:
    found = ((view, listed.get(view.id)) for view in views)
    return [
        ViewCondition(
            view=view, inputs=inputs.get(view.id, ()), schedule=None if schedule is None else _glance(schedule)
        )
        for view, schedule in found
    ]


def _glance(schedule: ListedSchedule) -> ScheduleGlance:
    return ScheduleGlance(
        paused=schedule.paused,
        reason=schedule.note if schedule.paused else None,
        by_policy=schedule.paused and is_failure_note(schedule.note),
        next_run_at=schedule.next_run_at,
    )
