"""Makes the schedules in Temporal match the catalog: one view's after each change, all of them at intervals."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from orchestrator.catalog import saved_pauses, saved_queries
from orchestrator.catalog.database import Database
from orchestrator.model.base import now
from orchestrator.model.batches import batches
from orchestrator.model.errors import Invalid, TemporalBusy
from orchestrator.model.findings import Finding, FindingKind
from orchestrator.model.schedule import DesiredSchedule
from orchestrator.model.single_flight import SingleFlight
from orchestrator.reconciliation.existing import existing_ids
from orchestrator.temporal.schedule_spec import NEVER_NOTE
from orchestrator.temporal.schedule_state import ListedSchedule
from orchestrator.temporal.schedules import Schedules

# How long other clients may keep changing the view's frequency before the callers that wait get an error.
_CHANGING_SECONDS = 30.0
# A call to the server is mostly waiting, but more at once would only wait for one another.
_SCHEDULES_AT_ONCE = 8


class ScheduleSync:
    """Makes the schedule of one view match the catalog."""

    def __init__(self, database: Database, schedules: Schedules) -> None:
        self._database = database
        self._schedules = schedules
        self._syncing: SingleFlight[UUID, None] = SingleFlight()

    async def sync(self, saved_query_id: UUID) -> None:
        """Create, correct or delete the view's schedule, as the catalog desires at the time of the call.

        Many clients may change one view at once. Each needs that the schedule is corrected after its own change was
        committed; one pass does that for all that wait. Raises TemporalUnavailable.
        """
        await self._syncing.call(saved_query_id, lambda: self._sync(saved_query_id))

    async def _sync(self, saved_query_id: UUID) -> None:
        """Repeat until the desired schedule has not changed during the Temporal call.

        Every process reads it again after its call, so the last process to write to Temporal has written the latest
        desired state.
        """
        deadline = time.monotonic() + _CHANGING_SECONDS
        desired = await self._desired(saved_query_id)
        while time.monotonic() < deadline:
            if desired is not None:
                await self._schedules.ensure(desired)
            else:
                await self._schedules.delete(saved_query_id)
            written, desired = desired, await self._desired(saved_query_id)
            if desired == written:
                return
        raise TemporalBusy("The view's frequency is being changed all the time. Try again in a moment.")

    async def _desired(self, saved_query_id: UUID) -> DesiredSchedule | None:
        async with self._database.single() as tx:
            return await saved_queries.find_desired_schedule(tx, saved_query_id)


@dataclass(frozen=True)
class ScheduleReconciler:
    """Compares all schedules with the catalog. It never changes a pause, but keeps a copy of each."""

    database: Database
    schedules: Schedules
    sync: ScheduleSync

    async def repair_drift(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Create missing schedules, delete orphaned ones of this installation, correct the others."""
        asked_at = now()
        # Listed first: a view that is materialized after the list was taken may have a schedule that is not in it, and
        # is then found to have one when that schedule is described.
        listed = await self.schedules.list_all()
        async with self.database.begin() as tx:
            desired = {schedule.saved_query_id: schedule for schedule in await saved_queries.list_desired_schedules(tx)}
        for batch in batches(list(desired.values()), _SCHEDULES_AT_ONCE):
            checks = (self._check(schedule, listed.get(schedule.saved_query_id), dry_run=dry_run) for schedule in batch)
            for finding in await asyncio.gather(*checks):
                if finding is not None:
                    yield finding
        if not dry_run:
            await self._copy_pauses(listed, desired, asked_at)
        orphaned = listed.keys() - desired.keys()
        existing = await existing_ids(self.database, orphaned)
        for view_id in orphaned:
            if view_id in existing:
                message = "the view is not materialized; its schedule is deleted"
                yield await self._repair(view_id, FindingKind.SCHEDULE_ORPHANED, message, dry_run=dry_run)
            else:
                message = "no such view; it is left alone"
                yield Finding(kind=FindingKind.UNKNOWN_SCHEDULE, subject=str(view_id), message=message)

    async def _check(self, desired: DesiredSchedule, listed: ListedSchedule | None, *, dry_run: bool) -> Finding | None:
        drift = await self.schedules.find_drift(desired, listed)
        if drift is None:
            return None
        kind = FindingKind.SCHEDULE_MISSING if listed is None else FindingKind.SCHEDULE_DRIFTED
        return await self._repair(desired.saved_query_id, kind, drift, dry_run=dry_run)

    async def _repair(self, view_id: UUID, kind: FindingKind, message: str, *, dry_run: bool) -> Finding:
        if not dry_run:
            try:
                await self.sync.sync(view_id)
            except Invalid as error:  # for one view, or no other one would be repaired
                message = f"{message}, but not yet: {error.message}"
        return Finding(kind=kind, subject=str(view_id), message=message)

    async def _copy_pauses(
        self, listed: Mapping[UUID, ListedSchedule], desired: Mapping[UUID, DesiredSchedule], asked_at: datetime
    ) -> None:
        """Copy the pauses of listed schedules into the catalog. The copy of a schedule that is not listed stays."""
        for view_id in listed.keys() & desired.keys():
            if _pause_note(listed[view_id]) == desired[view_id].paused_note:
                continue
            info = await self.schedules.find(view_id)  # the list may be late
            if info is None:
                continue
            async with self.database.begin() as tx:
                if info.paused and info.paused_reason != NEVER_NOTE:
                    await saved_pauses.keep(tx, view_id, info.paused_reason or "")
                else:
                    await saved_pauses.forget(tx, [view_id], seen_before=asked_at)


def _pause_note(listed: ListedSchedule) -> str | None:
    """The note of a pause that only Temporal knows of; the pause that `never` makes follows from the catalog."""
    return (listed.note or "") if listed.paused and listed.note != NEVER_NOTE else None
