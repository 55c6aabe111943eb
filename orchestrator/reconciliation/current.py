"""Makes `current/<project>/<view name>` in the store lead to the snapshot that the catalog says is current.

The catalog is changed first. A process that dies before it has changed the path leaves a difference for the reconciler.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.catalog import names
from orchestrator.catalog.database import Database
from orchestrator.model.errors import TemporalUnavailable, Transient
from orchestrator.model.findings import Finding, FindingKind
from orchestrator.stores.base import SnapshotStore

logger = logging.getLogger(__name__)

# A view whose current snapshot changes as often as this in between is left to the reconciler.
_TRIES = 10


@dataclass(frozen=True)
class CurrentLinks:
    """The paths of all views. `request_repair` has a worker run the reconciler soon."""

    database: Database
    store: SnapshotStore
    request_repair: Callable[[], Awaitable[None]]

    async def sync(self, project_id: int, name: str) -> None:
        """Make the path of this name lead to the current snapshot of the view that has the name."""
        await self.sync_all(project_id, [name])

    async def sync_all(self, project_id: int, some: Collection[str]) -> None:
        """Make the path of each name lead to the current snapshot of the view that has the name.

        It is done after the transaction of a change, so its errors are logged, and the rest is left to the reconciler.
        An API may see the store read-only.
        """
        if not self.store.has_current_paths:
            return
        try:
            await self._sync(project_id, some)
        except Transient as error:
            logger.warning("the paths of %d views are left to the reconciler: %s", len(some), error.message)
            with suppress(TemporalUnavailable):
                await self.request_repair()

    async def repair(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Repair the paths that do not lead to what is current."""
        if not self.store.has_current_paths:
            return
        present = await self.store.list_current()
        async with self.database.begin() as tx:
            wanted = await names.current_locations(tx)
        for key in sorted(present.keys() | wanted.keys()):
            if present.get(key) != wanted.get(key):
                if not dry_run:
                    await self._sync(key[0], [key[1]])
                message = "its path in current/ leads to another version, or there is none"
                yield Finding(kind=FindingKind.CURRENT_OUTDATED, subject="/".join(map(str, key)), message=message)

    async def _sync(self, project_id: int, some: Collection[str]) -> None:
        """Read again after each change: of two that act at once, the later one may have read the older location."""
        pointed: dict[str, str | None] = {}
        waiting = list(some)
        for _ in range(_TRIES):
            async with self.database.single() as tx:
                found = await names.current_locations_of(tx, project_id, waiting)
            waiting = [name for name in waiting if name not in pointed or pointed[name] != found.get(name)]
            if not waiting:
                return
            changed = {name: found.get(name) for name in waiting}
            pointed |= changed
            await self.store.point_current(project_id, changed)
