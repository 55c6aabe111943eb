"""The messages between the parent and its child processes, converted from and to the model's shapes."""

import signal
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from orchestrator.engines.base import LeftOutRows, QueryResult
from orchestrator.engines.duckdb.digest_cache import DigestCache
from orchestrator.engines.duckdb.sources.discovery import SourceFile, real_path
from orchestrator.model.check import CheckResult, CheckStatus, PlannedCheck
from orchestrator.model.column_lineage import ColumnRef, QueryLineage, Sources, unknown
from orchestrator.model.engine import Dialect
from orchestrator.model.errors import (
    DiskFull,
    EngineCrashed,
    InputMissing,
    InputReplaced,
    InvalidQuery,
    InvalidSource,
    OrchestratorError,
    OutOfMemory,
    OutputTooLarge,
    PlanTooLarge,
    QueryFailed,
    QueryRefused,
    SourceUnavailable,
    StoreUnavailable,
)
from orchestrator.model.position import Position, position_from
from orchestrator.model.read_limits import MOST_SAMPLES
from orchestrator.model.reading import ReadRelation, ResultSummary
from orchestrator.model.remote_files import is_remote
from orchestrator.model.run import Progress, Shape
from orchestrator.model.snapshot import Column, InputFile, InputFiles, Snapshot, SnapshotFile
from orchestrator.model.source_table import DATABASE_FORMATS, DescribedSource, FileDifference, SourceFormat

# The subfolders of a result's folder: for the rows that the query left out, and for some on which checks have failed.
_BESIDE = ("quarantine", "checks")
_ERRORS: dict[str, type[OrchestratorError]] = {
    error.code: error
    for error in (
        DiskFull,
        EngineCrashed,
        InputMissing,
        InputReplaced,
        InvalidQuery,
        InvalidSource,
        OutOfMemory,
        OutputTooLarge,
        PlanTooLarge,
        QueryFailed,
        QueryRefused,
        SourceUnavailable,
        StoreUnavailable,
    )
}


def parse_result(answer: dict[str, Any] | None, status: int | None) -> Any:  # noqa: ANN401 - JSON
    """Return the result in an answer, or raise its error. No answer means that the process died with `status`."""
    if answer is None:
        raise EngineCrashed(
            f"The process that ran the query ended unexpectedly (exit status {status}{_cause(status)})."
        )
    with _reject_malformed():
        if "error" not in answer:
            return answer["ok"]
        position = parse_position(answer.get("position"))
        error = _ERRORS[answer["error"]](str(answer["message"]), attr=answer["attr"], position=position)
    raise error


def parse_position(found: Any) -> Position | None:  # noqa: ANN401 - JSON
    """The place in a statement that an answer has, None if it has none."""
    with _reject_malformed():
        return None if found is None else position_from(found)


def parse_progress(answer: dict[str, Any], elapsed_seconds: float, written: int, memory: int | None) -> Progress:
    """The progress that a query reports, with the bytes written and the memory held, which the parent measures."""
    with _reject_malformed():
        return Progress(
            percent=answer["percent"], elapsed_seconds=elapsed_seconds, bytes_written=written, memory_bytes=memory
        )


@contextmanager
def _reject_malformed() -> Iterator[None]:
    """Raise EngineCrashed if reading an answer fails.

    A child that its query has taken over may send anything, and only its own run may fail for that.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError):
        raise EngineCrashed("The process that ran the query gave an answer that is none.") from None


def _cause(status: int | None) -> str:
    """The meaning of an exit status in words, to append to a message."""
    if status == -signal.SIGKILL:
        return ": it was killed, perhaps because the machine ran out of memory"
    if status is not None and status < 0:
        return f": {signal.strsignal(-status) or 'a signal'}"
    return ""


def encode_relation(
    relation: ReadRelation,
    file_url: Callable[[str, str], str],
    digests: DigestCache,
    files: Mapping[str, Sequence[SourceFile]],
) -> dict[str, Any]:
    """The description of an input for the child process. `files` are those of each source table, by its name."""
    known: dict[str, Any] = {"kind": relation.kind, "name": relation.name}
    if relation.kind == "source":
        columns = encode_columns(relation.columns)
        return known | {
            "format": SourceFormat.PARQUET if relation.format in DATABASE_FORMATS else relation.format.value,
            "source_files": files[relation.name],
            "columns": columns,
            "id": str(relation.id),
            "digests": dict(digests.of_table(relation.id)),
            "options": relation.options.model_dump(mode="json"),
            "stated": [(name, "") for name in relation.stated],
        }
    if relation.kind == "snapshot":
        return known | {
            "paths": [file_url(relation.location, file.name) for file in relation.files],
            "sizes": [file.bytes for file in relation.files],
            "columns": [(column.name, column.duckdb_type, column.stored_type) for column in relation.columns],
        }
    if relation.kind == "rows":
        facts = {"columns": dict(relation.columns), "rows": relation.rows, "has_aliases": relation.has_aliases}
        return known | facts
    if relation.dialect is Dialect.SPARK:
        raise QueryRefused(
            f'The view "{relation.name}" is written in Spark\'s dialect, and has no result yet. Materialize it: what '
            "reads it reads its result."
        )
    return known | {"sql": relation.sql}


def encode_previous(version: Snapshot, file_url: Callable[[str, str], str]) -> dict[str, Any]:
    """The description of the version before, with which the result is compared."""
    return {
        "paths": [file_url(version.location, file.name) for file in version.files],
        "sizes": [file.bytes for file in version.files],
        "rows": version.rows,
        "columns": [(one.name, one.duckdb_type, one.stored_type or one.duckdb_type) for one in version.columns],
        "content": version.content,
    }


def encode_shape(shape: Shape) -> dict[str, Any]:
    """The number of rows and the columns of the version before."""
    return {"rows": shape.rows, "columns": encode_columns(shape.columns)}


def encode_check(check: PlannedCheck) -> dict[str, Any]:
    """The description of a check for the child process."""
    facts = {"id": str(check.id), "reads": check.reads, "needs": check.needs, "fault": check.fault}
    return {**check.assertion.plain(check.to_name), **facts}


def input_files(relation: Mapping[str, Any]) -> list[SourceFile]:
    """The files of an encoded snapshot, or version, on this machine's disk."""
    paths = (path for path in relation.get("paths", ()) if not is_remote(path))
    return [SourceFile(shown=path, real=real_path(path)) for path in paths]


def remote_files(relations: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The sizes of those files of encoded snapshots, or versions, that are remote, by URL."""
    return {
        path: size
        for relation in relations
        for path, size in zip(relation.get("paths", ()), relation.get("sizes", ()), strict=True)
        if is_remote(path)
    }


def encode_columns(columns: Sequence[Column]) -> list[tuple[str, str]]:
    """The name and the DuckDB type of each column."""
    return [(column.name, column.duckdb_type) for column in columns]


def decode_columns(pairs: Sequence[tuple[str, str]]) -> tuple[Column, ...]:
    """The columns of these names and DuckDB types."""
    return tuple(Column(name=name, duckdb_type=kind) for name, kind in pairs)


def parse_described(result: Any) -> DescribedSource:  # noqa: ANN401 - JSON
    """The columns of files, and their differences."""
    with _reject_malformed():
        names = ("path", "file_count", "missing", "missing_count", "additional", "additional_count")
        return DescribedSource(
            columns=decode_columns(result["columns"]),
            file_count=result["file_count"],
            bytes=result["bytes"],
            differences=tuple(
                FileDifference.model_validate(dict(zip(names, one, strict=True))) for one in result["differences"]
            ),
        )


def decode_lineage(report: Any, tables: Mapping[str, Sequence[Column]]) -> QueryLineage:  # noqa: ANN401 - JSON
    """The lineage that a child reports of a query over these tables, in the same order."""
    with _reject_malformed():
        if "unknown" in report:
            return unknown(report["names"], f"DuckDB's plan of the query was not understood: {report['unknown']}.")
        refs = [
            [*(ColumnRef(name, column.name) for column in columns), ColumnRef(name, None)]
            for name, columns in tables.items()
        ]
        columns = zip(report["names"], report["columns"], strict=True)
        return QueryLineage(
            tuple((name, Sources(_refs_at(own, refs), _refs_at(also, refs))) for name, (own, also) in columns),
            Sources(also=_refs_at(report["rows"], refs)),
        )


def _refs_at(places: Sequence[tuple[int, int]], refs: Sequence[Sequence[ColumnRef]]) -> frozenset[ColumnRef]:
    return frozenset(refs[table][column] for table, column in places)


def parse_written(result: Any, folder: Path, checks: Sequence[PlannedCheck] = ()) -> QueryResult:  # noqa: ANN401 - JSON
    """The result that a query reports. Raises EngineCrashed unless the names and sizes of the files are true."""
    with _reject_malformed():
        files = tuple(SnapshotFile(name=name, rows=rows, bytes=size) for name, rows, size in result["files"])
        sizes_on_disk = dict(_regular_files(folder))
        rejected = tuple(_rejected_of(table, rows, name, sizes_on_disk) for table, rows, name in result["rejected"])
        found = parse_checks(result["checks"], checks)
        samples = tuple(
            SnapshotFile(
                name=one.sample, rows=min(one.failing_rows or 0, MOST_SAMPLES), bytes=sizes_on_disk[one.sample]
            )
            for one in found
            if one.sample
        )
        beside = (*(one.file for one in rejected if one.file), *samples)
        if {file.name: file.bytes for file in (*files, *beside)} != sizes_on_disk:
            raise ValueError("these are not the files that lie there")
        return QueryResult(
            files=files,
            rows=sum(file.rows for file in files),
            bytes=sum(file.bytes for file in files),
            columns=_stored_columns_of(result["columns"]),
            engine_version=result["engine_version"],
            rejected=rejected,
            deterministic=result["deterministic"],
            content=result["content"],
            previous_content=result["previous_content"],
            sources={name: _input_files(*report) for name, report in result["sources"].items()},
            checks=found,
            samples=samples,
        )


def parse_checks(found: Any, checks: Sequence[PlannedCheck]) -> tuple[CheckResult, ...]:  # noqa: ANN401 - JSON
    """The results of checks as a child process reports them, in the order of the checks."""
    with _reject_malformed():
        return tuple(_check_result(check, one) for check, one in zip(checks, found, strict=True))


def _check_result(check: PlannedCheck, found: Mapping[str, Any]) -> CheckResult:
    if found["id"] != str(check.id):
        raise ValueError("these are not the checks that were asked for")
    return CheckResult(
        check_id=check.id,
        label=check.label,
        severity=check.severity,
        status=CheckStatus(found["status"]),
        failing_rows=found["failing_rows"],
        reason=found["reason"],
        sql=found.get("sql"),
        sample=found.get("sample"),
    )


def parse_summary(result: Any) -> ResultSummary:  # noqa: ANN401 - JSON
    """The description of a result that a reader's query reports."""
    with _reject_malformed():
        return ResultSummary(
            columns=decode_columns(result["columns"]),
            rows=result["rows"],
            has_more=result["has_more"],
            most_rows=result["most_rows"],
        )


def store_digests(digests: DigestCache, relations: Sequence[Mapping[str, Any]], result: Any) -> None:  # noqa: ANN401 - JSON
    """Store the digests that a query reports of its source files. `relations` are those that its child was sent."""
    with _reject_malformed():
        for relation in relations:
            if relation["kind"] == "source":
                *_, known = result["sources"][relation["name"]]
                digests.learn(UUID(relation["id"]), {str(key): str(digest) for key, digest in known.items()})


def _input_files(
    file_count: int,
    size: int,
    digest: str,
    listing: str,
    files: Sequence[tuple[str, int, int, str | None, str]],
    _known: object,
) -> InputFiles:
    """The fields of a FileReport as InputFiles. A time in nanoseconds may be out of range for a datetime."""
    return InputFiles(
        file_count=file_count,
        bytes=size,
        digest=digest,
        listing=listing,
        files=tuple(
            InputFile(path=path, bytes=n, modified_at=_moment(ns), digest=found, identity=identity)
            for path, n, ns, found, identity in files
        ),
    )


def _moment(nanoseconds: int) -> datetime | None:
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None


def _rejected_of(table: str, rows: int, name: str, sizes_on_disk: Mapping[str, int]) -> LeftOutRows:
    file = SnapshotFile(name=name, rows=rows, bytes=sizes_on_disk[name]) if name else None
    return LeftOutRows(table=table, rows=rows, file=file)


def _stored_columns_of(report: Sequence[tuple[str, str, str]]) -> tuple[Column, ...]:
    return tuple(
        Column(name=name, duckdb_type=kind, stored_type=None if stored == kind else stored)
        for name, kind, stored in report
    )


def _regular_files(folder: Path, beside: Sequence[str] = _BESIDE) -> Iterator[tuple[str, int]]:
    """The names and sizes of the entries of a folder and of its subfolders `beside`; -1 for what is no regular file."""
    for path in folder.iterdir():
        status = path.lstat()
        if path.name in beside and stat.S_ISDIR(status.st_mode):
            yield from ((f"{path.name}/{name}", size) for name, size in _regular_files(path, ()))
        else:
            yield path.name, status.st_size if stat.S_ISREG(status.st_mode) else -1
