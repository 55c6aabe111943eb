"""The checks of PostgreSQL, and of the results that it names."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from orchestrator.catalog import diagnostics, migrate
from orchestrator.catalog.database import Database
from orchestrator.catalog.diagnostics import CurrentSnapshotFiles
from orchestrator.doctor.report import (
    CLOCK_WARNING,
    Check,
    CheckResult,
    Status,
    fail,
    ok,
    run_in_daemon_thread,
    some_of,
    warn,
)
from orchestrator.model.base import now
from orchestrator.model.errors import StoreUnavailable
from orchestrator.settings import PREFIX
from orchestrator.stores.base import SnapshotStore

_CLOCK_BROKEN = timedelta(minutes=5)
# An object store answers one look after some thirty milliseconds.
_LOOKS_AT_ONCE = 16


class PostgresChecks:
    """The checks of PostgreSQL."""

    def __init__(self, database: Database, store: SnapshotStore) -> None:
        self._database = database
        self._store = store

    def checks(self) -> list[Check]:
        """The checks to run."""
        reach = f"start PostgreSQL, and check {PREFIX}DATABASE_URL: host, database, user and password"
        return [
            Check("database", self._answers, reach),
            Check("migrations", self._migrations, "run `matview migrate`", needs=("database",)),
            Check("clock", self._clock, reach, needs=("database",)),
            Check(
                "results",
                self._results,
                "there may be many files, or the store is slow; nothing was found to be wrong",
                needs=("database", "migrations", "store"),
                severity_on_error=Status.WARN,
            ),
        ]

    async def _answers(self) -> CheckResult:
        async with self._database.begin() as tx:
            version = await diagnostics.server_version(tx)
        return ok(f"PostgreSQL {version} answers")

    async def _migrations(self) -> CheckResult:
        found, desired = await self._database.migration(), migrate.head()
        if found != desired:
            return fail(f"the schema is at {found or 'none'}, this release needs {desired}", "run `matview migrate`")
        return ok(f"the schema is at {found}, as this release needs it")

    async def _clock(self) -> CheckResult:
        async with self._database.begin() as tx:
            began = now()
            theirs = await diagnostics.clock(tx)
            ended = now()
        # PostgreSQL read its clock between the two, so only a time before or after both shows a difference.
        apart_by = max(began - theirs, theirs - ended, timedelta(0))
        message = f"PostgreSQL's clock and this machine's are {apart_by.total_seconds():.1f} seconds apart"
        advice = "let NTP or chrony set the clocks of all machines"
        if apart_by >= _CLOCK_BROKEN:
            return fail(message, advice)
        return warn(message, advice) if apart_by >= CLOCK_WARNING else ok(message)

    async def _results(self) -> CheckResult:
        async with self._database.begin() as tx:
            current = await diagnostics.list_current_snapshots(tx)
        # In an event loop of its own: the process does not wait at its end for the threads of that loop.
        missing = await run_in_daemon_thread(lambda: asyncio.run(_missing(current, self._store)))
        if missing:
            message = f"of {len(current)} results that readers see, {len(missing)} lack files: {some_of(missing)}"
            return fail(message, "mount the right store, restore its files from a backup, or run these views again")
        return ok(f"results that readers see: {len(current)}, and every file of them is there")


async def _missing(current: Sequence[CurrentSnapshotFiles], store: SnapshotStore) -> list[str]:
    """The views of which a file is not there, or has another size than it was written with."""
    turns = asyncio.Semaphore(_LOOKS_AT_ONCE)

    async def is_whole(one: CurrentSnapshotFiles) -> bool:
        async with turns:
            try:
                return await store.is_whole(one.location, one.files)
            except StoreUnavailable:
                return False

    found = await asyncio.gather(*map(is_whole, current))
    return [one.view for one, whole in zip(current, found, strict=True) if not whole]
