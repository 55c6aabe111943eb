"""Processes of queries that are kept for the next query of the same project.

To start a process and open its session takes longer than most queries. The first request settles what a process may
open, and nothing can widen that. So it serves only queries that need no more, all of one project.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from orchestrator.aio import acquire, uninterruptible
from orchestrator.engines.duckdb.child_process import ChildProcess, ProcessLimits, preload_for_remote_files
from orchestrator.engines.duckdb.object_links import ObjectLinks
from orchestrator.engines.duckdb.priorities import Priorities
from orchestrator.engines.duckdb.scratch import Scratch
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.model.errors import EngineCrashed, StoreUnavailable
from orchestrator.model.limits import Limits
from orchestrator.model.remote_files import RemoteFile, is_remote
from orchestrator.model.write_target import WriteTarget

# Processes without a query, in all: each holds some 60 MiB, most of it shared with the server that it is forked from.
_MOST_IDLE = 8
# The memory that they may hold together, since no limit of running queries counts it.
_MOST_IDLE_BYTES = 512 << 20
_IDLE_SECONDS = 300.0
# From then on it is not kept any more. A process can open the files that were in its reach at its start, also those
# that no query of its project may read any more.
_LIFETIME_SECONDS = 3600.0
_MIB = 1 << 20


@dataclass(frozen=True)
class Reach:
    """The paths that a process may open: `files`, all below `folders`, and for writing all below `writable`.

    `limits` are those of each of its queries. With `remote` it may ask for remote files: those of its present query.
    `is_shared` says that it may write what other queries of the project write too.
    """

    project_id: int
    limits: Limits
    folders: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    files: frozenset[SourceFile] = frozenset()
    remote: bool = False
    is_shared: bool = False

    @classmethod
    def of_run(
        cls, project_id: int, limits: Limits, target: WriteTarget, files: Iterable[SourceFile], *, remote: bool = False
    ) -> Self:
        """The reach of a process that writes to `target` and reads `files`.

        Where the store has folders for all results of a project, the reach is these: so the next run needs no other.
        """
        local = files_on_disk(files)
        if target.shared is None:
            return cls(project_id, limits, writable=(str(target.folder),), files=local, remote=remote)
        sealed, staged = target.shared
        folders = () if sealed is None else (str(sealed),)
        outside = frozenset(file for file in local if sealed is None or not file.real.startswith(f"{sealed}/"))
        return cls(project_id, limits, folders, (str(staged),), outside, remote=remote, is_shared=True)

    @property
    def is_lasting(self) -> bool:
        """Whether another query may need the same reach. A folder to write into is for one query only."""
        return self.is_shared or not self.writable

    def covers(self, needed: "Reach") -> bool:
        """Whether a process with this reach can serve a query that needs `needed`."""
        return self.files >= needed.files and replace(self, files=frozenset()) == replace(needed, files=frozenset())


def files_on_disk(files: Iterable[SourceFile]) -> frozenset[SourceFile]:
    """Those of the files that are on this machine's disk."""
    return frozenset(file for file in files if not is_remote(file.real))


@dataclass(eq=False)
class KeptProcess:
    """A process that serves one query at a time, and the folder for what its queries spill.

    `is_usable` says whether it can serve another one; `uses` counts those that it was taken for. `held_bytes` is the
    memory that it held when it was given back.
    """

    child: ChildProcess
    scratch: Scratch
    reach: Reach
    is_usable: bool = True
    uses: int = 0
    started_at: float = field(default_factory=time.monotonic)
    held_bytes: int = 0
    _has_begun: bool = field(default=False, init=False)
    _removing: "asyncio.Future[None] | None" = field(default=None, init=False)

    def begin(self, remote: Mapping[str, RemoteFile] = {}) -> dict[str, Any]:
        """The part of a request that is the same for all queries of the process, which is now busy with one.

        `remote` has the remote files that the query may read, by their names.

        It is usable again once the caller says so: after an error, what a query left behind is not known.
        """
        self.is_usable = False
        common: dict[str, Any] = {"limits": self.reach.limits.model_dump(), "temp_directory": str(self.scratch.path)}
        if self.child.links is not None:
            self.child.links.grant(remote)
            common["remote"] = {name: file.size for name, file in remote.items()}
        if self._has_begun:
            return common
        self._has_begun = True
        reach = {
            "files": [*self.reach.files],
            "folders": self.reach.folders,
            "writable": self.reach.writable,
            "remote": self.reach.remote,
        }
        return common | {"reach": reach}

    async def end(self) -> int | None:
        """End the process and remove its folder; returns its exit status. It may be called again."""
        self.is_usable = False
        try:
            return await self.child.end()
        finally:
            if self._removing is None:
                self._removing = asyncio.ensure_future(asyncio.to_thread(self.scratch.remove))
            await uninterruptible(self._removing)


class KeptProcesses:
    """The processes that query for projects, in use and idle. Queries spill to folders in `temp_dir`.

    `has_remote_files` says that some of them may read files that are not on this machine's disk.

    A process may take twice the memory limit of its queries plus 1 GiB of address space, since DuckDB does not count
    all that it uses.
    """

    def __init__(self, temp_dir: Path, *, has_remote_files: bool = False) -> None:
        self._temp_dir = temp_dir
        if has_remote_files:
            preload_for_remote_files()
        self._priorities = Priorities(remember_seconds=0)
        self._idle: list[KeptProcess] = []
        self.busy: set[KeptProcess] = set()
        """Those that serve a query now."""
        self._ending: set[asyncio.Task[object]] = set()
        self._is_closed = False

    async def close(self) -> None:
        """End every process. Those in use answer nothing more."""
        self._is_closed = True
        processes = [*self._idle, *self.busy]
        self._idle.clear()
        await asyncio.gather(*(process.end() for process in processes), *self._ending, return_exceptions=True)

    async def take(self, reach: Reach, *, fresh: bool = False) -> KeptProcess:
        """A process that no other query uses, and that has served no other project. A `fresh` one has served none.

        The caller must give it back. Raises StoreUnavailable if its folder cannot be made, EngineCrashed after `close`.
        """
        if self._is_closed:
            raise EngineCrashed("The process was stopped before the query began.")
        process = None if fresh else await self._find_kept(reach)
        if process is None:
            process = await self._start(reach)
        process.uses += 1
        self.busy.add(process)
        return process

    async def give_back(self, process: KeptProcess) -> None:
        """Keep a process for the next query of its project, or end it."""
        self.busy.discard(process)
        if (
            self._is_closed
            or not process.is_usable
            # A query may be stopped at the moment of its answer, which says that the process is usable.
            or process.child.has_ended()
            or not process.reach.is_lasting
            or not process.child.is_worth_keeping()
            or time.monotonic() - process.started_at > _LIFETIME_SECONDS
        ):
            await process.end()
            return
        process.held_bytes = process.child.memory_bytes() or 0
        self._idle.append(process)
        asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._expire, process, process.uses)
        while len(self._idle) > _MOST_IDLE or sum(one.held_bytes for one in self._idle) > _MOST_IDLE_BYTES:
            await self._idle.pop(0).end()

    def running(self, process: KeptProcess) -> contextlib.AbstractContextManager[None]:
        """Count the process as working for its project."""
        return self._priorities.running(process.child, process.reach.project_id)

    async def _find_kept(self, reach: Reach) -> KeptProcess | None:
        for process in reversed(self._idle):
            if process.reach.covers(reach):
                self._idle.remove(process)
                if not process.child.has_ended():
                    return process
                await process.end()  # of a cause that has nothing to do with the next query
                return await self._find_kept(reach)
        return None

    async def _start(self, reach: Reach) -> KeptProcess:
        try:
            scratch = await acquire(asyncio.to_thread(Scratch, self._temp_dir), Scratch.remove)
        except OSError as error:
            raise StoreUnavailable(f"No temporary folder can be made: {error.strerror}.") from error
        try:
            links = ObjectLinks(reach.limits.threads) if reach.remote else None
            child = await ChildProcess.start(_process_limits(reach), links)
        except BaseException:
            await uninterruptible(asyncio.to_thread(scratch.remove))
            raise
        return KeptProcess(child, scratch, reach)

    def _expire(self, process: KeptProcess, uses: int) -> None:
        if process in self._idle and process.uses == uses:
            self._idle.remove(process)
            task = asyncio.ensure_future(process.end())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


def _process_limits(reach: Reach) -> ProcessLimits:
    """The operating system's limits for a process of this reach.

    A file is spilled data, or part of a result if it writes one. The 64 MiB beyond the larger limit are for the last
    block, which is written before DuckDB or the parent notices.
    """
    limits = reach.limits
    largest = max(limits.output_mb, limits.temp_disk_mb) if reach.writable else limits.temp_disk_mb
    return ProcessLimits(address_space=(2 * limits.memory_mb + 1024) * _MIB, file_size=(largest + 64) * _MIB)
