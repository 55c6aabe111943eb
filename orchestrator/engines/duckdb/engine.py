"""The DuckDB engine. DuckDB itself is never loaded here: it runs in child processes."""

import asyncio
import importlib.metadata
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.aio import uninterruptible
from orchestrator.engines.admission import Admission
from orchestrator.engines.attempts import empty, time_limit
from orchestrator.engines.base import ForeignResult, QueryResult
from orchestrator.engines.duckdb.digest_cache import DigestCache
from orchestrator.engines.duckdb.disk_space import DiskSpace
from orchestrator.engines.duckdb.kept_processes import KeptProcess, KeptProcesses, Reach, files_on_disk
from orchestrator.engines.duckdb.object_links import granted_results
from orchestrator.engines.duckdb.protocol import (
    encode_check,
    encode_columns,
    encode_previous,
    encode_relation,
    encode_shape,
    input_files,
    parse_checks,
    parse_progress,
    parse_result,
    parse_written,
    remote_files,
    store_digests,
)
from orchestrator.engines.duckdb.scratch import remove_abandoned
from orchestrator.engines.duckdb.source_file_lister import SourceFileLister
from orchestrator.model.check import CheckResult, CheckStatus, PlannedCheck
from orchestrator.model.engine import Dialect
from orchestrator.model.errors import (
    DiskFull,
    EngineCrashed,
    OrchestratorError,
    OutputTooLarge,
)
from orchestrator.model.limits import Limits
from orchestrator.model.remote_files import RemoteFile, RemoteFiles
from orchestrator.model.run import Progress, RunPlan, TableCheckPlan
from orchestrator.model.write_target import WriteTarget

_MIB = 1 << 20


class _Prepared(NamedTuple):
    """The request for a plan's query, all that its process may open for it, its remote files, and the disk it fills."""

    request: dict[str, Any]
    reach: Reach
    granted: dict[str, RemoteFile]
    disk: DiskSpace


class DuckDBEngine:
    """Runs queries in processes, each for one project. A QueryRunner.

    `source_lister` finds the files that source tables may read. `limits` hold for each query whose plan has none of its
    own, `worker_memory_mb` for all that run at a time, in MiB. At most `max_queries` run at a time, and one more of a
    project that runs none. The worker takes `slots` at a time. `temp_dir` is where queries spill data that does not fit
    into memory; it is created if it does not exist. `remote_files` reads the files of results that are not on this
    machine's disk, where there are such.
    """

    def __init__(
        self,
        source_lister: SourceFileLister,
        *,
        limits: Limits,
        worker_memory_mb: int,
        temp_dir: Path,
        max_queries: int | None = None,
        slots: int = 0,
        remote_files: RemoteFiles | None = None,
    ) -> None:
        self._source_lister = source_lister
        self._limits = limits
        self._temp_dir = temp_dir.absolute()
        self._admission = Admission(worker_memory_mb, queries=max_queries, slots=slots, reserve_mb=limits.memory_mb)
        self._remote_files = remote_files
        has_remote_files = remote_files is not None or source_lister.has_remote_tables
        self._processes = KeptProcesses(self._temp_dir, has_remote_files=has_remote_files)
        self._digests = DigestCache()

    @property
    def version(self) -> str:
        """The name and version of the engine, as QueryResult has it."""
        return f"duckdb {importlib.metadata.version('duckdb')}"

    async def start(self) -> None:
        """Remove the folders that killed workers left in `temp_dir`."""
        await asyncio.to_thread(remove_abandoned, self._temp_dir)

    async def close(self) -> None:
        """End every process that this engine started. Running and waiting queries fail with EngineCrashed."""
        self._admission.close()
        await self._processes.close()

    async def write(
        self,
        plan: RunPlan,
        file_url: Callable[[str, str], str],
        target: WriteTarget,
        on_progress: Callable[[Progress], None],
    ) -> QueryResult:
        """See QueryRunner. The files are not flushed to disk here."""
        folder = target.folder
        limits = plan.limits or self._limits
        began = time.monotonic()

        def waiting() -> None:
            on_progress(Progress(percent=None, elapsed_seconds=time.monotonic() - began, waiting=True))

        async with self._admission.admit(limits.memory_mb, waiting, project_id=plan.project_id):
            try:
                async with time_limit(plan.timeout_seconds):
                    return await self._write(plan, file_url, target, limits, on_progress)
            except BaseException:
                await uninterruptible(asyncio.to_thread(empty, folder))
                raise

    async def check(
        self, plan: TableCheckPlan, folder: str | None, file_url: Callable[[str, str], str]
    ) -> tuple[CheckResult, ...]:
        """See TableChecker."""
        async with (
            self._admission.admit(plan.limits.memory_mb, _pass, project_id=plan.project_id),
            time_limit(plan.timeout_seconds),
        ):
            return await self._check(plan, folder, file_url)

    async def _check(
        self, plan: TableCheckPlan, folder: str | None, file_url: Callable[[str, str], str]
    ) -> tuple[CheckResult, ...]:
        inputs = (*plan.relations, *plan.check_relations)
        files = await self._source_lister.find(plan.project_id, inputs)
        remote_sources = await self._source_lister.grant(inputs, files)
        relations, check_relations = (
            [encode_relation(one, file_url, self._digests, files) for one in some]
            for some in (plan.relations, plan.check_relations)
        )
        request: dict[str, Any] = {
            "job": "check",
            "name": plan.name,
            "timeout_seconds": plan.timeout_seconds,
            "relations": relations,
            "checks": [encode_check(check) for check in plan.checks],
            "check_relations": check_relations,
            "current": None,
        }
        opened = files_on_disk(itertools.chain(*files.values()))
        folders = (folder,) if folder else ()
        is_remote = self._reads_remotely(remote_sources)
        process = await self._processes.take(
            Reach(plan.project_id, plan.limits, folders, files=opened, remote=is_remote)
        )
        try:
            with self._processes.running(process):
                begun = process.begin(self._granted(request, remote_sources))
                answer = await process.child.ask(begun | request)
                while answer and "percent" in answer:
                    answer = await process.child.receive()
            status = None if answer and "ok" in answer else await process.end()
            found = parse_checks(parse_result(answer, status), plan.checks)
            process.is_usable = not any(one.status is CheckStatus.ERROR for one in found)
        except OrchestratorError as error:
            raise error.placed() from None
        finally:
            await uninterruptible(self._processes.give_back(process))
        return found

    async def adopt(
        self,
        plan: RunPlan,
        file_url: Callable[[str, str], str],
        target: WriteTarget,
        foreign: ForeignResult,
        on_progress: Callable[[Progress], None],
    ) -> QueryResult:
        """The result that another engine has written into `target`, with its checks.

        Raises what `write` does. The files stay where they are then.
        """
        limits = plan.limits or self._limits
        # A view in another dialect is no relation here. A check that reads it says that it cannot.
        relations = tuple(one for one in plan.relations if one.kind != "view" or one.dialect is Dialect.DUCKDB)
        plan = plan.model_copy(update={"relations": relations})
        async with (
            self._admission.admit(limits.memory_mb, _pass, project_id=plan.project_id),
            time_limit(plan.timeout_seconds),
        ):
            prepared = await self._prepare(plan, file_url, target, limits)
            more = {
                "job": "adopt",
                "sql": plan.sql if plan.dialect is Dialect.DUCKDB else None,
                "columns": encode_columns(foreign.columns),
                "engine_version": foreign.engine_version,
                "deterministic": foreign.deterministic,
            }
            process = await self._processes.take(prepared.reach)
            prepared = prepared._replace(request=prepared.request | more)
            return await self._run_in(process, prepared, plan.checks, on_progress)

    async def _write(
        self,
        plan: RunPlan,
        file_url: Callable[[str, str], str],
        target: WriteTarget,
        limits: Limits,
        on_progress: Callable[[Progress], None],
    ) -> QueryResult:
        prepared = await self._prepare(plan, file_url, target, limits)
        process = await self._processes.take(prepared.reach)
        try:
            return await self._run_in(process, prepared, plan.checks, on_progress)
        except EngineCrashed:
            if process.uses == 1:
                raise
        # The cause may be the state in which an earlier query left the process.
        await asyncio.to_thread(empty, target.folder)
        process = await self._processes.take(prepared.reach, fresh=True)
        return await self._run_in(process, prepared, plan.checks, on_progress)

    async def _prepare(
        self, plan: RunPlan, file_url: Callable[[str, str], str], target: WriteTarget, limits: Limits
    ) -> _Prepared:
        inputs = (*plan.relations, *plan.check_relations)
        files = await self._source_lister.find(plan.project_id, inputs)
        remote_sources = await self._source_lister.grant(inputs, files)
        relations, check_relations = (
            [encode_relation(relation, file_url, self._digests, files) for relation in some]
            for some in (plan.relations, plan.check_relations)
        )
        request: dict[str, Any] = {
            "job": "write",
            "name": plan.name,
            "sql": plan.sql,
            "timeout_seconds": plan.timeout_seconds,
            "relations": relations,
            "checks": [encode_check(check) for check in plan.checks],
            "check_relations": check_relations,
            "current": None if plan.current is None else encode_shape(plan.current),
            "target": str(target.folder),
            "file_suffix": plan.run_id.hex[:8],
            "previous": encode_previous(plan.previous, file_url) if plan.previous else None,
            "parquet_metadata": {
                "run_id": str(plan.run_id),
                "saved_query_id": str(plan.saved_query_id),
                "revision_id": str(plan.revision_id),
            },
        }
        needed = itertools.chain(*files.values(), *map(input_files, _sealed(request)))
        is_remote = self._reads_remotely(remote_sources)

        def on_disk() -> tuple[Reach, DiskSpace]:
            reach = Reach.of_run(plan.project_id, limits, target, needed, remote=is_remote)
            return reach, DiskSpace(str(target.folder))

        # In one thread, as below: to pass work to a thread takes as long as most of what these do there.
        reach, disk = await asyncio.to_thread(on_disk)
        return _Prepared(request, reach, self._granted(request, remote_sources), disk)

    async def _run_in(
        self,
        process: KeptProcess,
        prepared: _Prepared,
        checks: Sequence[PlannedCheck],
        on_progress: Callable[[Progress], None],
    ) -> QueryResult:
        """Run the request in the process, which is usable afterwards only if it has written a result."""

        def written_on_disk() -> QueryResult:
            _check_size(prepared.disk, process)
            return parse_written(result, Path(prepared.request["target"]), checks)

        try:
            result = await self._answer_of(process, prepared, on_progress)
            store_digests(self._digests, prepared.request["relations"], result)
            written = await asyncio.to_thread(written_on_disk)
            # An error leaves the session in a state that is not known.
            process.is_usable = not any(one.status is CheckStatus.ERROR for one in written.checks)
            return written
        finally:
            await uninterruptible(self._processes.give_back(process))

    async def _answer_of(
        self, process: KeptProcess, prepared: _Prepared, on_progress: Callable[[Progress], None]
    ) -> Any:  # noqa: ANN401 - JSON
        """The result that the process reports. Raises OutputTooLarge instead of another error if that is the cause."""
        began, child, disk = time.monotonic(), process.child, prepared.disk
        request = process.begin(prepared.granted) | prepared.request
        with self._processes.running(process):
            answer = await child.ask(request)
            while answer and "percent" in answer:
                written = await asyncio.to_thread(_check_size, disk, process)
                on_progress(parse_progress(answer, time.monotonic() - began, written, child.memory_bytes()))
                answer = await child.receive()
        status = None
        if not (answer and "ok" in answer):
            await asyncio.to_thread(_check_size, disk, process)
            status = await process.end()
        try:
            return parse_result(answer, status)
        except DiskFull as error:
            raise await asyncio.to_thread(disk.classify, error, str(process.scratch.path)) from None
        except OrchestratorError as error:
            raise error.placed() from None

    def _reads_remotely(self, remote_sources: Mapping[str, RemoteFile]) -> bool:
        """Whether a query needs a process that may ask for remote files. With results in a bucket, each may."""
        return self._remote_files is not None or bool(remote_sources)

    def _granted(self, request: Mapping[str, Any], remote_sources: Mapping[str, RemoteFile]) -> dict[str, RemoteFile]:
        return {**granted_results(remote_files(_sealed(request)), self._remote_files), **remote_sources}


def _pass() -> None:
    """Report nothing of a wait for memory."""


def _sealed(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The inputs of a request, and the version before, if it is compared with one."""
    return [*request["relations"], *request["check_relations"], request.get("previous") or {}]


def _check_size(disk: DiskSpace, process: KeptProcess) -> int:
    """The bytes of the result. Raises OutputTooLarge if they are more than they may be, or fill the disk."""
    size, output_mb = disk.measure(str(process.scratch.path)), process.reach.limits.output_mb
    if size > output_mb * _MIB:
        raise OutputTooLarge(f"The result is larger than it may be ({output_mb:,} MiB).")
    return size
