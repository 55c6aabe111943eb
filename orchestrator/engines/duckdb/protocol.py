"""What the parent and its child processes tell each other, from and to the model's shapes."""

import signal
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from orchestrator.engines.base import LeftOutRows, QueryResult
from orchestrator.engines.duckdb.digest_cache import DigestCache
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
    StoreUnavailable,
)
from orchestrator.model.run import Progress, Relation
from orchestrator.model.snapshot import Column, InputFile, InputFiles, SnapshotFile

# Where a query puts the rows that it left out, below the folder of its result.
_QUARANTINE = "quarantine"
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
        StoreUnavailable,
    )
}


def parse_result(answer: dict[str, Any] | None, status: int | None) -> Any:  # noqa: ANN401 - JSON
    """The result in an answer, or its error raised. No answer means that the process died; `status` says of what."""
    if answer is None:
        raise EngineCrashed(
            f"The process that ran the query ended unexpectedly (exit status {status}{_cause(status)})."
        )
    with _reject_malformed():
        if "error" not in answer:
            return answer["ok"]
        error = _ERRORS[answer["error"]](str(answer["message"]), attr=answer["attr"])
    raise error


def parse_progress(answer: dict[str, Any], elapsed_seconds: float, written: int, memory: int | None) -> Progress:
    """What a running query says of itself, and what is seen of it: bytes that it has written, and that it holds."""
    with _reject_malformed():
        return Progress(
            percent=answer["percent"], elapsed_seconds=elapsed_seconds, bytes_written=written, memory_bytes=memory
        )


@contextmanager
def _reject_malformed() -> Iterator[None]:
    """A child that was taken over by its query may say anything; nobody but its run may suffer from that."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError):
        raise EngineCrashed("The process that ran the query gave an answer that is none.") from None


def _cause(status: int | None) -> str:
    """What an exit status means, in words."""
    if status == -signal.SIGKILL:
        return ": it was killed, perhaps because the machine ran out of memory"
    if status is not None and status < 0:
        return f": {signal.strsignal(-status) or 'a signal'}"
    return ""


def encode_relation(relation: Relation, file_url: Callable[[str, str], str], digests: DigestCache) -> dict[str, Any]:
    """What the child needs to know of an input."""
    known: dict[str, Any] = {"kind": relation.kind, "name": relation.name}
    if relation.kind == "source":
        columns = encode_columns(relation.columns)
        return known | {
            "format": relation.format.value,
            "url_pattern": relation.url_pattern,
            "columns": columns,
            "id": str(relation.id),
            "digests": dict(digests.of_table(relation.id)),
            "options": relation.options.model_dump(mode="json"),
            "stated": [(name, "") for name in relation.stated],
        }
    if relation.kind == "snapshot":
        return known | {
            "paths": [file_url(relation.location, file.name) for file in relation.files],
            "columns": [(column.name, column.duckdb_type, column.stored_type) for column in relation.columns],
        }
    return known | {"sql": relation.sql}


def encode_columns(columns: Sequence[Column]) -> list[tuple[str, str]]:
    """The name and the DuckDB type of each column."""
    return [(column.name, column.duckdb_type) for column in columns]


def decode_columns(pairs: Sequence[tuple[str, str]]) -> tuple[Column, ...]:
    """The columns of these names and DuckDB types."""
    return tuple(Column(name=name, duckdb_type=kind) for name, kind in pairs)


def parse_written(result: Any, folder: Path) -> QueryResult:  # noqa: ANN401 - JSON
    """What a query wrote, by its own account, of which the names and the sizes of the files must be true."""
    with _reject_malformed():
        files = tuple(SnapshotFile(name=name, rows=rows, bytes=size) for name, rows, size in result["files"])
        lying = dict(_regular_files(folder))
        rejected = tuple(_rejected_of(table, rows, name, lying) for table, rows, name in result["rejected"])
        kept = {one.file.name: one.file.bytes for one in rejected if one.file}
        if {file.name: file.bytes for file in files} | kept != lying:
            raise ValueError("these are not the files that lie there")
        return QueryResult(
            files=files,
            rows=sum(file.rows for file in files),
            bytes=sum(file.bytes for file in files),
            columns=_stored_columns_of(result["columns"]),
            engine_version=result["engine_version"],
            rejected=rejected,
            sources={name: _input_files(*told) for name, told in result["sources"].items()},
        )


def learn(digests: DigestCache, relations: Sequence[Mapping[str, Any]], result: Any) -> None:  # noqa: ANN401 - JSON
    """Keep what a query over these relations, as the child was given them, found out about its source files."""
    with _reject_malformed():
        for relation in relations:
            if relation["kind"] == "source":
                *_, known = result["sources"][relation["name"]]
                digests.learn(UUID(relation["id"]), {str(key): str(digest) for key, digest in known.items()})


def _input_files(
    file_count: int, size: int, digest: str, files: Sequence[tuple[str, int, int, str | None]], _known: object
) -> InputFiles:
    """What Told in `source_reading` says. Times in nanoseconds may lie beyond every calendar."""
    return InputFiles(
        file_count=file_count,
        bytes=size,
        digest=digest,
        files=tuple(
            InputFile(path=path, bytes=n, modified_at=_moment(ns), digest=found) for path, n, ns, found in files
        ),
    )


def _moment(nanoseconds: int) -> datetime | None:
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None


def _rejected_of(table: str, rows: int, name: str, lying: Mapping[str, int]) -> LeftOutRows:
    file = SnapshotFile(name=name, rows=rows, bytes=lying[name]) if name else None
    return LeftOutRows(table=table, rows=rows, file=file)


def _stored_columns_of(told: Sequence[tuple[str, str, str]]) -> tuple[Column, ...]:
    return tuple(
        Column(name=name, duckdb_type=kind, stored_type=None if stored == kind else stored)
        for name, kind, stored in told
    )


def _regular_files(folder: Path, beside: str = _QUARANTINE) -> Iterator[tuple[str, int]]:
    """The names and sizes of what lies in the folder, and in the folder `beside` in it."""
    for path in folder.iterdir():
        status = path.lstat()
        if path.name == beside and stat.S_ISDIR(status.st_mode):
            yield from ((f"{beside}/{name}", size) for name, size in _regular_files(path, ""))
        else:
            yield path.name, status.st_size if stat.S_ISREG(status.st_mode) else -1
