"""The reconciler: holds runs, schedules and files against the catalog, and mends what does not agree.

Whatever dies between two steps of anything leaves a difference that is found here; nothing else needs to be able to
clean up after itself. It never touches a pause, and what the catalog has never known (another installation's schedules
or files, or those of a time after the backup that it was restored from) it names and leaves alone. Every step may be
repeated and may meet any other change: it acts through `Alignment`, which reads again after acting, and deletes files
only of runs that are over.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from temporalio import activity

from orchestrator.alignment import Alignment, wanted_schedule
from orchestrator.catalog import runs, saved_queries, snapshots
from orchestrator.catalog.database import Database
from orchestrator.model.reconciliation import Finding, Kind, ReconcileRequest, Report
from orchestrator.model.snapshot import Retention
from orchestrator.stores.base import SnapshotStore
from orchestrator.temporal import contract
from orchestrator.temporal.executions import Executions
from orchestrator.temporal.schedules import Schedules

logger = logging.getLogger(__name__)

_MOST_FINDINGS = 500
_LOCATION = re.compile(r"\d+/(?P<view>[0-9a-f-]{36})/(?P<run>[0-9a-f-]{36})-\d+")
# PostgreSQL takes 65,535 parameters in a statement.
_BATCH = 10_000


@dataclass(frozen=True)
class Reconciliation:
    """The reconciler, and what it works with."""

    database: Database
    store: SnapshotStore
    schedules: Schedules
    executions: Executions
    retention: Retention

    @activity.defn(name=contract.RECONCILE_ALL)
    async def reconcile(self, request: ReconcileRequest) -> Report:
        """Find what does not agree, and mend it unless it is a dry run. Raises Transient if a server is away."""
        found: list[Finding] = []
        for step in (self._runs, self._schedules, self._unwanted_runs, self._versions, self._files):
            async for finding in step(request.dry_run):
                logger.info("%s %s: %s", finding.kind, finding.subject, finding.told)
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
            ending = await self._alignment.ending(run)
            if ending is None:
                continue
            if not dry_run and await self._alignment.settle(run) == run:
                continue
            told = f"it is over in Temporal and is recorded as {ending.status}"
            yield Finding(kind=Kind.RUN_OVER, subject=str(run.id), told=told)

    async def _schedules(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Create schedules that are missing, delete those that nobody wants, and correct the others."""
        # In this order: a view that is materialized meanwhile may have a schedule that is not listed yet, and is then
        # found to have one when it is looked at.
        listed = await self.schedules.listed()
        async with self.database.begin() as tx:
            views = {view.id: view for view in await saved_queries.wanted(tx)}
            known = await saved_queries.known(tx, listed.keys())
        for view_id, view in views.items():
            problem = await self.schedules.problem(wanted_schedule(view), listed.get(view_id))
            if problem is not None:
                kind = Kind.SCHEDULE_WRONG if view_id in listed else Kind.SCHEDULE_MISSING
                yield await self._realigned(view_id, kind, problem, dry_run=dry_run)
        for view_id in listed.keys() - views.keys():
            if view_id in known:
                told = "nobody wants the view refreshed; it is deleted"
                yield await self._realigned(view_id, Kind.SCHEDULE_UNWANTED, told, dry_run=dry_run)
            else:
                yield Finding(kind=Kind.UNKNOWN_SCHEDULE, subject=str(view_id), told="no such view; it is left alone")

    async def _realigned(self, view_id: UUID, kind: Kind, told: str, *, dry_run: bool) -> Finding:
        if not dry_run:
            await self._alignment.align(view_id)
        return Finding(kind=kind, subject=str(view_id), told=told)

    async def _unwanted_runs(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Cancel runs that go on although nobody wants their view refreshed: what they make could not be published."""
        running = await self.executions.listed_open()
        async with self.database.begin() as tx:
            wanted = {view.id for view in await saved_queries.wanted(tx)}
            known = await saved_queries.known(tx, running.keys())
        for view_id in running.keys() & known - wanted:
            if not dry_run:
                await self.executions.cancel(view_id, running[view_id])
            told = "nobody wants the view refreshed; its run is cancelled"
            yield Finding(kind=Kind.RUN_UNWANTED, subject=str(view_id), told=told)

    async def _versions(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Take away versions that need not be kept; their files go in the next step."""
        async with self.database.begin() as tx:
            gone = await (snapshots.expired if dry_run else snapshots.remove_expired)(tx, self.retention)
            if not dry_run:
                await snapshots.forget_leases(tx)
        for snapshot_id in gone:
            yield Finding(kind=Kind.VERSION_EXPIRED, subject=str(snapshot_id), told="it need not be kept any more")

    async def _files(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Delete the files of runs that are over and of versions that were taken away."""
        # Listed before the catalog is asked: what is published meanwhile is then known to it.
        locations = await self.store.locations()
        for start in range(0, len(locations), _BATCH):
            batch = locations[start : start + _BATCH]
            ours, unwanted = await self._sorted(batch)
            for location in unwanted:
                if not dry_run:
                    await self.store.discard(location)
                told = "no version and no run needs it; it is deleted"
                yield Finding(kind=Kind.FILES_UNWANTED, subject=location, told=told)
            for location in set(batch) - ours:
                yield Finding(kind=Kind.UNKNOWN_FILES, subject=location, told="no run of ours; it is left alone")
            await asyncio.sleep(0)

    async def _sorted(self, locations: Sequence[str]) -> tuple[set[str], list[str]]:
        """Those of the locations that are of our runs, and those among them that nobody needs."""
        run_ids = {location: UUID(m["run"]) for location in locations if (m := _LOCATION.fullmatch(location))}
        async with self.database.begin() as tx:
            over = await runs.over(tx, set(run_ids.values()))
            kept = await snapshots.kept_locations(tx, locations)
        ours = {location for location, run_id in run_ids.items() if run_id in over}
        return ours, sorted(location for location in ours if over[run_ids[location]] and location not in kept)
