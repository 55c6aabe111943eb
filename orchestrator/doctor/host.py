"""The checks of the machine that a process runs on: its packages, memory, disks and kernel features."""

import asyncio
import os
import platform
import shutil
import time
from collections.abc import Awaitable, Callable
from importlib import metadata
from pathlib import Path
from uuid import uuid4

from orchestrator.doctor.report import Check, CheckResult, Status, fail, ok, run_in_daemon_thread, warn
from orchestrator.model.snapshot import SnapshotFile
from orchestrator.settings import PREFIX, Settings
from orchestrator.stores.base import SnapshotStore

_PACKAGE = "matview"
_PINNED = "duckdb"
_MIB = 2**20
_LEAST_FREE_BYTES, _LEAST_FREE_SHARE = 2**30, 0.05
# The most that queries may use together. The worker, its fork server and the page cache need the rest.
_MOST_OF_MEMORY = 0.85
_CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
# No project has the id 0, so files found there are left from an interrupted `matview doctor`.
_PROBES = "0/doctor"
_KERNEL_LAYERS = ("Landlock", "seccomp")


class HostChecks:
    """The checks of this machine."""

    def __init__(self, settings: Settings, store: SnapshotStore, layers: Callable[[], Awaitable[list[str]]]) -> None:
        self._settings = settings
        self._store = store
        self._layers = layers

    def checks(self) -> list[Check]:
        """The checks to run."""
        folder = self._settings.data_dir
        works = f"make {folder} a folder that this user may write to, the same everywhere"
        says = "see the worker's log, and what the README says of isolation"
        room = f"set {PREFIX}WORKER_MEMORY_MB and {PREFIX}QUERY_MEMORY_MB"
        return [
            Check("versions", self._versions, "install the package from its lock file", severity_on_error=Status.WARN),
            Check("memory", self._memory, room, severity_on_error=Status.WARN),
            Check("isolation", self._isolation, says, severity_on_error=Status.WARN),
            Check("store", self._store_works, works),
            Check("space", self._space, f"look at the disk that holds {folder}"),
            Check("temporary files", self._scratch, f"let this user write to {folder / 'tmp'}"),
        ]

    async def _versions(self) -> CheckResult:
        found = {name: metadata.version(name) for name in (_PACKAGE, _PINNED, "temporalio")}
        message = ", ".join([f"Python {platform.python_version()}", *(f"{name} {found[name]}" for name in found)])
        # As `duckdb==1.5.5; extra == "server"`.
        required = (one.partition(";")[0].strip() for one in metadata.requires(_PACKAGE) or ())
        desired = next((one for one in required if one.startswith(f"{_PINNED}==")), None)
        if desired is not None and desired.partition("==")[2] != found[_PINNED]:
            return fail(message, f"this release is made for {desired}: install it from its lock file")
        return ok(message)

    async def _memory(self) -> CheckResult:
        settings, has = self._settings, _memory_mb()
        message = (
            f"queries may use {settings.worker_memory_mb:,} of {has:,} MiB together, {settings.query_memory_mb:,} each"
        )
        if settings.worker_memory_mb > has * _MOST_OF_MEMORY:
            most = int(has * _MOST_OF_MEMORY)
            return warn(message, f"set {PREFIX}WORKER_MEMORY_MB to {most} at most, less if several workers run here")
        if settings.query_memory_mb * settings.max_concurrent_queries > settings.worker_memory_mb:
            at_once = settings.worker_memory_mb // settings.query_memory_mb
            return ok(f"{message}: {at_once} at a time, of {settings.max_concurrent_queries} that could be")
        return ok(message)

    async def _isolation(self) -> CheckResult:
        layers = await self._layers()
        message = ", ".join(layers)
        missing = [name for name in _KERNEL_LAYERS if not any(layer.startswith(name) for layer in layers)]
        if missing:
            advice = f"run workers where the kernel offers {' and '.join(missing)}, or only views of people you trust"
            return warn(message, advice)
        return ok(message)

    async def _store_works(self) -> CheckResult:
        folder = self._settings.data_dir
        if not await run_in_daemon_thread(folder.exists):
            return warn(f"{folder} is not there yet", "make it, or mount it; every worker must see the same one")
        where = self._settings.store or folder
        began = time.perf_counter()
        # In an event loop of its own: the process does not wait at its end for the threads of that loop.
        await run_in_daemon_thread(lambda: asyncio.run(self._probe()))
        took = 1000 * (time.perf_counter() - began)
        return ok(f"{where}: a file was written, made durable, sealed, read and deleted in {took:.0f} ms")

    async def _probe(self) -> None:
        """Write, seal, read and discard a small file, as with every result. Raises StoreUnavailable or OSError."""
        location, content = f"{_PROBES}/{uuid4().hex}", b"a probe of matview doctor"
        file = SnapshotFile(name="probe", rows=0, bytes=len(content))
        try:
            target = await self._store.stage(location)
            await asyncio.to_thread((target.folder / file.name).write_bytes, content)
            await self._store.seal(location, await self._store.measure(location, [file]), b"{}")
            async with self._store.on_disk(location, file.name) as path:
                await asyncio.to_thread(path.read_bytes)
        finally:
            await self._store.discard(location)

    async def _space(self) -> CheckResult:
        folder = next(path for path in (self._settings.data_dir, *self._settings.data_dir.parents) if path.is_dir())
        usage = await run_in_daemon_thread(lambda: shutil.disk_usage(folder))
        share = usage.free / usage.total if usage.total else 0
        message = f"{usage.free // _MIB:,} MiB are free, {share:.0%} of the disk that holds {folder}"
        if usage.free < _LEAST_FREE_BYTES or share < _LEAST_FREE_SHARE:
            return warn(
                message, f"make room, or keep fewer versions ({PREFIX}SNAPSHOTS_KEPT, {PREFIX}SNAPSHOTS_KEPT_DAYS)"
            )
        return ok(message)

    async def _scratch(self) -> CheckResult:
        folder = self._settings.data_dir / "tmp"
        if not await run_in_daemon_thread(self._settings.data_dir.exists):
            return warn(f"{folder} is not there yet", "it is made where the store is")

        def probe() -> int:
            folder.mkdir(exist_ok=True)
            path = folder / f"probe-{uuid4().hex}"
            try:
                path.write_bytes(b"a probe of matview doctor")
            finally:
                path.unlink(missing_ok=True)
            return shutil.disk_usage(folder).free // _MIB

        free, most = await run_in_daemon_thread(probe), self._settings.query_temp_disk_mb
        return ok(f"{folder}: each query may spill up to {most:,} MiB there, and {free:,} are free")


def _memory_mb() -> int:
    """The memory that this process may use, in MiB: that of the machine, or less if a container limits it."""
    known = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _CGROUPS:
        try:
            known.append(int(path.read_text()))
        except (OSError, ValueError):  # there is no such file, or it says "max"
            continue
    return min(known) // _MIB
