"""The reconciler: holds runs, schedules and files against the catalog, and mends what does not agree.

Whatever dies between two steps of anything leaves a difference that is found here; nothing else needs to be able to
clean up after itself. It never touches a pause (it keeps a copy of each, with which a lost schedule is made again), and
what the catalog has never known (another installation's schedules
or files, or those of views that were made after the backup that it was restored from) it names and leaves alone. Every
step may be repeated and may meet any other change: what a list of Temporal's tells is only a hint, which may be late;
it acts through `Alignment`, which reads again after acting, and deletes files only of runs that are over.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from temporalio import activity

from orchestrator.activities.policy import FailurePolicy
from orchestrator.alignment import Alignment, wanted_schedule
from orchestrator.catalog import failures, pauses, runs, saved_queries, snapshots
from orchestrator.catalog.database import Database
from orchestrator.model.base import now
from orchestrator.model.errors import StoreUnavailable
from orchestrator.model.reconciliation import Finding, Kind, ReconcileRequest, Report
from orchestrator.model.run import RunStatus
from orchestrator.model.saved_query import Wish
from orchestrator.model.snapshot import Retention
from orchestrator.stores.base import SnapshotStore
from orchestrator.temporal import contract
from orchestrator.temporal.executions import Executions
from orchestrator.temporal.schedules import ListedSchedule, Schedules
from orchestrator.temporal.wanted import NEVER_NOTE

T = TypeVar("T")

logger = logging.getLogger(__name__)

_MOST_FINDINGS = 500
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_LOCATION = re.compile(rf"\d+/{_UUID}/(?P<run>{_UUID})-\d+")
# A call to the server is mostly waiting; more at once would only wait for one another.
_SCHEDULES_AT_ONCE = 8
# PostgreSQL takes 65,535 parameters in a statement, and whatever else the process does has to go on.
_BATCH = 5_000
_HEARTBEAT_SECONDS = 5


@dataclass(frozen=True)
class Reconciliation:
    """The reconciler, and what it works with."""

    database: Database
    store: SnapshotStore
    schedules: Schedules
    executions: Executions
    retention: Retention
    policy: FailurePolicy

    @activity.defn(name=contract.RECONCILE_ALL)
    async def reconcile(self, request: ReconcileRequest) -> Report:
        """Find what does not agree, and mend it unless it is a dry run. Raises Transient if a server is away."""
        found: list[Finding] = []
        async with _heartbeating():
            for step in (self._runs, self._schedules, self._unwanted_runs, self._versions, self._files):
                async for finding in step(request.dry_run):
                    level = logging.DEBUG if finding.kind.startswith("unknown") else logging.INFO
                    logger.log(level, "%s %s: %s", finding.kind, finding.subject, finding.told)
                    found.append(finding)
        return Report(dry_run=request.dry_run, findings=tuple(found[:_MOST_FINDINGS]), total=len(found))

    @property
    def _alignment(self) -> Alignment:
        return Alignment(self.database, self.schedules, self.executions)

    async def _runs(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Close runs whose workflow ended without a word."""
        async with self.database.begin() as tx:
            open_runs = await runs.running(tx)
        for run in open_runs:
            if dry_run:
                ending = await self._alignment.ending(run)
                status = RunStatus.RUNNING if ending is None else ending.status
            else:
                status = (await self._alignment.settle(run)).status
            # One that completed while it was asked after has said so itself.
            if status not in {RunStatus.RUNNING, RunStatus.COMPLETED}:
                told = f"it is over in Temporal and is recorded as {status}"
                yield Finding(kind=Kind.RUN_OVER, subject=str(run.id), told=told)
        # Workers know whether there is a webhook; the environment of a command may not say so.
        if not dry_run and activity.in_activity():
            await self._draw_consequences()

    async def _draw_consequences(self) -> None:
        """Do what follows from the end of runs that ended without a word: notices, and a pause.

        The mark goes last, so that a step which is cut off is done again; each can be.
        """
        async with self.database.begin() as tx:
            due = await runs.with_policy_due(tx)
        for run_id in due:
            async with self.database.begin() as tx:
                standing = await failures.standing(tx, run_id)
            await self.executions.tell(await self.policy.apply(standing))
            async with self.database.begin() as tx:
                await runs.policy_done(tx, run_id)

    async def _schedules(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Create schedules that are missing, delete those that nobody wants, and correct the others."""
        asked_at = now()
        # In this order: a view that is materialized meanwhile may have a schedule that is not listed yet, and is then
        # found to have one when it is looked at.
        listed = await self.schedules.listed()
        async with self.database.begin() as tx:
            wishes = {wish.id: wish for wish in await saved_queries.wishes(tx)}
            copies = await pauses.notes(tx)
        for batch in _batches(list(wishes.values()), _SCHEDULES_AT_ONCE):
            looks = (self._examined(wish, copies.get(wish.id), listed.get(wish.id), dry_run=dry_run) for wish in batch)
            for finding in await asyncio.gather(*looks):
                if finding is not None:
                    yield finding
        if not dry_run:
            await self._copy_pauses({view: listed[view] for view in listed.keys() & wishes.keys()}, copies, asked_at)
        known = await self._known(listed.keys() - wishes.keys())
        for view_id in listed.keys() - wishes.keys():
            if view_id in known:
                told = "nobody wants the view refreshed; it is deleted"
                yield await self._realigned(view_id, Kind.SCHEDULE_UNWANTED, told, dry_run=dry_run)
            else:
                yield Finding(kind=Kind.UNKNOWN_SCHEDULE, subject=str(view_id), told="no such view; it is left alone")

    async def _copy_pauses(
        self, listed: Mapping[UUID, ListedSchedule], copies: Mapping[UUID, str], asked_at: datetime
    ) -> None:
        """Keep a copy of what Temporal says of pauses. What it does not list keeps the copy that there is of it."""
        for view_id, schedule in listed.items():
            if _pause_of(schedule) == copies.get(view_id):
                continue
            found = await self.schedules.find(view_id)  # the list may be late
            async with self.database.begin() as tx:
                if found is None:
                    continue
                if found.paused and found.paused_reason != NEVER_NOTE:
                    await pauses.keep(tx, view_id, found.paused_reason or "")
                else:
                    await pauses.forget(tx, [view_id], seen_before=asked_at)

    async def _examined(
        self, wish: Wish, copy: str | None, listed: ListedSchedule | None, *, dry_run: bool
    ) -> Finding | None:
        problem = await self.schedules.problem(wanted_schedule(wish, copy), listed)
        if problem is None:
            return None
        kind = Kind.SCHEDULE_MISSING if listed is None else Kind.SCHEDULE_WRONG
        return await self._realigned(wish.id, kind, problem, dry_run=dry_run)

    async def _realigned(self, view_id: UUID, kind: Kind, told: str, *, dry_run: bool) -> Finding:
        if not dry_run:
            await self._alignment.align(view_id)
        return Finding(kind=kind, subject=str(view_id), told=told)

    async def _unwanted_runs(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Cancel runs that go on although nobody wants their view refreshed: what they make could not be published."""
        running = await self.executions.listed_open()
        for view_id in await self._known(running.keys()):
            async with self.database.begin() as tx:  # just before it is cancelled, and not once for all
                wish = await saved_queries.find_wish(tx, view_id)
            if wish is not None and wish.sync_frequency is not None:
                continue
            if not dry_run:
                await self.executions.cancel(view_id, running[view_id])
            told = "nobody wants the view refreshed; its run is cancelled"
            yield Finding(kind=Kind.RUN_UNWANTED, subject=str(view_id), told=told)

    async def _versions(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Take away versions that need not be kept; their files go in the next step."""
        async with self.database.begin() as tx:
            if not dry_run:
                await snapshots.supersede_forgotten(tx)
                await snapshots.forget_leases(tx)
            gone = await (snapshots.expired if dry_run else snapshots.remove_expired)(tx, self.retention)
        for snapshot_id in gone:
            yield Finding(kind=Kind.VERSION_EXPIRED, subject=str(snapshot_id), told="it need not be kept any more")

    async def _files(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Delete the files of runs that are over and of versions that were taken away."""
        # Listed before the catalog is asked: what is published meanwhile is then known to it.
        for batch in _batches(await self.store.locations()):
            ours, unwanted = await self._sorted(batch)
            for location in unwanted:
                yield await self._discarded(location, dry_run=dry_run)
            for location in sorted(set(batch) - ours):
                yield Finding(kind=Kind.UNKNOWN_FILES, subject=location, told="no run of ours; it is left alone")

    async def _discarded(self, location: str, *, dry_run: bool) -> Finding:
        try:
            if not dry_run:
                await self.store.discard(location)
        except StoreUnavailable as error:
            return Finding(kind=Kind.NOT_MENDED, subject=location, told=f"it cannot be deleted: {error.message}")
        told = "no version and no run needs it; it is deleted"
        return Finding(kind=Kind.FILES_UNWANTED, subject=location, told=told)

    async def _known(self, ids: Collection[UUID]) -> set[UUID]:
        """Those of the ids that are views of ours, deleted ones included."""
        found: set[UUID] = set()
        for batch in _batches(sorted(ids)):
            async with self.database.begin() as tx:
                found |= await saved_queries.known(tx, batch)
        return found

    async def _sorted(self, locations: Sequence[str]) -> tuple[set[str], list[str]]:
        """Those of the locations that are of our runs, and those among them that nobody needs."""
        run_ids = {location: UUID(m["run"]) for location in locations if (m := _LOCATION.fullmatch(location))}
        async with self.database.begin() as tx:
            over = await runs.over(tx, set(run_ids.values()))
            kept = await snapshots.kept_locations(tx, locations)
        ours = {location for location, run_id in run_ids.items() if run_id in over}
        return ours, sorted(location for location in ours if over[run_ids[location]] and location not in kept)


def _pause_of(listed: ListedSchedule) -> str | None:
    """The note of a pause that only Temporal knows of; that which `never` makes follows from the catalog."""
    return (listed.note or "") if listed.paused and listed.note != NEVER_NOTE else None


def _batches(items: Sequence[T], size: int = _BATCH) -> Iterable[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


@asynccontextmanager
async def _heartbeating() -> AsyncIterator[None]:
    """Tell the server that this goes on, so that a worker that dies meanwhile is noticed; not on the command line."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    beating = asyncio.create_task(beat()) if activity.in_activity() else None
    try:
        yield
    finally:
        if beating:
            beating.cancel()
