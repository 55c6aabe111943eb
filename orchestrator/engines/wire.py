"""What the parent and its child processes tell each other, from and to the model's shapes."""

import signal
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.engines.base import Written
from orchestrator.model.errors import (
    EngineCrashed,
    InputMissing,
    InvalidQuery,
    InvalidSource,
    OrchestratorError,
    OutOfMemory,
    OutputTooLarge,
    QueryFailed,
    QueryRefused,
    StoreUnavailable,
)
from orchestrator.model.run import Progress, Relation
from orchestrator.model.snapshot import Column, SnapshotFile

_ERRORS: dict[str, type[OrchestratorError]] = {
    error.code: error
    for error in (
        EngineCrashed,
        InputMissing,
        InvalidQuery,
        InvalidSource,
        OutOfMemory,
        OutputTooLarge,
        QueryFailed,
        QueryRefused,
        StoreUnavailable,
    )
}


def result_of(answer: dict[str, Any] | None, status: int | None) -> Any:  # noqa: ANN401 - JSON
    """The result in an answer, or its error raised. No answer means that the process died; `status` says of what."""
    if answer is None:
        raise EngineCrashed(
            f"The process that ran the query ended unexpectedly (exit status {status}{_cause(status)})."
        )
    with _understood():
        if "error" not in answer:
            return answer["ok"]
        error = _ERRORS[answer["error"]](str(answer["message"]), attr=answer["attr"])
    raise error


def progress_of(answer: dict[str, Any], elapsed_seconds: float, written: int, memory: int | None) -> Progress:
    """What a running query says of itself, and what is seen of it: bytes that it has written, and that it holds."""
    with _understood():
        return Progress(
            percent=answer["percent"], elapsed_seconds=elapsed_seconds, bytes_written=written, memory_bytes=memory
        )


@contextmanager
def _understood() -> Iterator[None]:
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


def relation_as_json(relation: Relation, locate: Callable[[str, str], str]) -> dict[str, Any]:
    """What the child needs to know of an input."""
    known: dict[str, Any] = {"kind": relation.kind, "name": relation.name}
    if relation.kind == "source":
        columns = pairs_of(relation.columns)
        return known | {
            "format": relation.format.value,
            "url_pattern": relation.url_pattern,
            "columns": columns,
            "options": relation.options.model_dump(mode="json"),
        }
    if relation.kind == "snapshot":
        return known | {
            "paths": [locate(relation.location, file.name) for file in relation.files],
            "columns": [(column.name, column.duckdb_type, column.stored_type) for column in relation.columns],
        }
    return known | {"sql": relation.sql}


def pairs_of(columns: Sequence[Column]) -> list[tuple[str, str]]:
    """The name and the DuckDB type of each column."""
    return [(column.name, column.duckdb_type) for column in columns]


def columns_of(pairs: Sequence[tuple[str, str]]) -> tuple[Column, ...]:
    """The columns of these names and DuckDB types."""
    return tuple(Column(name=name, duckdb_type=kind) for name, kind in pairs)


def written_of(result: Any, folder: Path) -> Written:  # noqa: ANN401 - JSON
    """What a query wrote, by its own account, of which the names and the sizes of the files must be true."""
    with _understood():
        files = tuple(SnapshotFile(name=name, rows=rows, bytes=size) for name, rows, size in result["files"])
        if {file.name: file.bytes for file in files} != dict(_regular_files(folder)):
            raise ValueError("these are not the files that lie there")
        return Written(
            files=files,
            rows=sum(file.rows for file in files),
            bytes=sum(file.bytes for file in files),
            columns=_stored_columns_of(result["columns"]),
            engine_version=result["engine_version"],
        )


def _stored_columns_of(told: Sequence[tuple[str, str, str]]) -> tuple[Column, ...]:
    return tuple(
        Column(name=name, duckdb_type=kind, stored_type=None if stored == kind else stored)
        for name, kind, stored in told
    )


def _regular_files(folder: Path) -> Iterator[tuple[str, int]]:
    for path in folder.iterdir():
        status = path.lstat()
        yield path.name, status.st_size if stat.S_ISREG(status.st_mode) else -1
