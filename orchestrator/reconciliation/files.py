"""Removes expired snapshots from the catalog, and files from the store that no snapshot and no run needs."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from orchestrator.catalog import reads, retention as snapshot_retention, runs, source_copies, tries
from orchestrator.catalog.database import Database
from orchestrator.model.batches import batches
from orchestrator.model.errors import StoreUnavailable
from orchestrator.model.findings import Finding, FindingKind
from orchestrator.model.snapshot import Retention
from orchestrator.stores.base import SnapshotStore

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_LOCATION = re.compile(rf"\d+/{_UUID}/(?P<run>{_UUID})-\d+")


@dataclass(frozen=True)
class FileReconciler:
    """Compares snapshots with the retention, and the store with the catalog."""

    database: Database
    store: SnapshotStore
    retention: Retention

    async def remove_expired(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Mark expired snapshots as removed in the catalog; `delete_orphaned` then deletes their files."""
        async with self.database.begin() as tx:
            if not dry_run:
                await snapshot_retention.backfill_superseded_at(tx)
                await snapshot_retention.delete_finished_leases(tx)
                await reads.delete_expired(tx)
            expired = await (snapshot_retention.expired if dry_run else snapshot_retention.remove_expired)(
                tx, self.retention
            )
            copies = await (source_copies.expired if dry_run else source_copies.remove_expired)(
                tx, self.retention.grace
            )
        for snapshot_id in expired:
            message = "it need not be kept any more"
            yield Finding(kind=FindingKind.VERSION_EXPIRED, subject=str(snapshot_id), message=message)
        for copy_id in copies:
            message = "nothing reads this copy of a table of a database any more"
            yield Finding(kind=FindingKind.COPY_EXPIRED, subject=str(copy_id), message=message)

    async def delete_orphaned(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Delete the files of runs and tries that have ended, and of snapshots and copies that were removed."""
        # Listed before the catalog is read: a snapshot that is published in between is then in the catalog.
        listed = await self.store.list_locations()
        if not dry_run:
            await self._forget_removed(listed)
        for batch in batches(listed):
            own, orphaned = await self._classify(batch)
            for location in orphaned:
                yield await self._discard(location, dry_run=dry_run)
            for location in sorted(set(batch) - own):
                message = "no run of this installation; it is left alone"
                yield Finding(kind=FindingKind.UNKNOWN_FILES, subject=location, message=message)

    async def _classify(self, locations: Sequence[str]) -> tuple[set[str], list[str]]:
        """Those of the locations that are of runs of this installation, and those among them that are orphaned."""
        run_ids = {location: UUID(m["run"]) for location in locations if (m := _LOCATION.fullmatch(location))}
        async with self.database.begin() as tx:
            # In this order: a try that is promoted in between is found as one of the two.
            kept = await tries.retained_locations(tx, locations, self.retention.grace)
            finished = await tries.over_by_id(tx, set(run_ids.values()))
            finished |= await runs.finished_by_id(tx, set(run_ids.values()))
            finished |= await source_copies.over_by_id(tx, set(run_ids.values()))
            retained = kept | await snapshot_retention.retained_locations(tx, locations)
        own = {location for location, run_id in run_ids.items() if run_id in finished}
        return own, sorted(location for location in own if finished[run_ids[location]] and location not in retained)

    async def _forget_removed(self, listed: Sequence[str]) -> None:
        """Delete the rows of removed tries and copies that have no files any more."""
        with_files = {UUID(found["run"]) for location in listed if (found := _LOCATION.fullmatch(location))}
        async with self.database.begin() as tx:
            await tries.delete_removed(tx, with_files, self.retention.grace)
            await source_copies.delete_removed(tx, with_files, self.retention.grace)

    async def _discard(self, location: str, *, dry_run: bool) -> Finding:
        try:
            if not dry_run:
                await self.store.discard(location)
        except StoreUnavailable as error:
            message = f"it cannot be deleted: {error.message}"
            return Finding(kind=FindingKind.REPAIR_FAILED, subject=location, message=message)
        message = "no version and no run needs it; it is deleted"
        return Finding(kind=FindingKind.FILES_ORPHANED, subject=location, message=message)
