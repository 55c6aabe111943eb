"""Converts DuckDB's exceptions to errors of the program, and shortens their messages."""

import errno
import glob
import os
import re
from collections.abc import Mapping

import duckdb

from orchestrator.model.errors import (
    DiskFull,
    EngineCrashed,
    OrchestratorError,
    OutOfMemory,
    OutputTooLarge,
    QueryFailed,
    QueryRefused,
    StoreUnavailable,
)

_MAX_LENGTH = 2000
# A query may raise a message of any length, and DuckDB may quote a line of a file in it. Only this much is processed.
_LOOKED_AT = 16_000
# Each of these patterns starts at the start of a line and matches no line break but its own. Otherwise a text of only
# line breaks would be scanned once from each of them.
# DuckDB quotes the statement that it ran, which wraps the client's query: its line numbers would mislead.
_QUOTE = re.compile(r"^[ \t]*LINE \d+: ", re.MULTILINE)
# Advice about settings that a client cannot change.
_ADVICE = re.compile(r"\n(?:[ \t]*\n|The search space used was|Possible solutions)")
_CSV_FILE = re.compile(r"^[ \t]*file = (\S.{0,1000})", re.MULTILINE)


def clean_message(error: duckdb.Error) -> str:
    """DuckDB's message, without the quoted statement and without advice on settings."""
    whole = str(error)
    message = _before(_QUOTE, whole[:_LOOKED_AT]).strip()
    if "CSV" in message or isinstance(error, duckdb.OutOfMemoryException):
        file = _CSV_FILE.search(whole)  # It follows the quoted line, which may be long.
        message = _before(_ADVICE, message)[:_MAX_LENGTH] + (f" (file {file[1]})" if file else "")
    return message[:_MAX_LENGTH]


def _before(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return text[: found.start()] if found else text


def failure(error: Exception, limits: Mapping[str, int]) -> OrchestratorError:
    """The program's error for an exception that a query with these limits raised.

    DuckDB's InvalidInputException covers both mistakes in the query and damaged data. Trying again helps neither, so it
    is a failed query like any other.
    """
    if isinstance(error, OrchestratorError):
        return error
    if isinstance(error, (duckdb.OutOfMemoryException, MemoryError)):
        return _out_of_memory(error, limits)
    if isinstance(error, duckdb.PermissionException):
        return QueryRefused(clean_message(error))
    if isinstance(error, (duckdb.IOException, OSError)):
        return _disk_failed(clean_message(error) if isinstance(error, duckdb.Error) else str(error.strerror), limits)
    if isinstance(error, duckdb.Error) and not isinstance(error, (duckdb.InternalException, duckdb.FatalException)):
        return QueryFailed(clean_message(error))
    return EngineCrashed(f"The process that ran the query failed: {type(error).__name__}.")


def _out_of_memory(error: Exception, limits: Mapping[str, int]) -> OutOfMemory:
    if "max_temp_directory_size" in str(error):
        return OutOfMemory(
            f"The query needs more memory than it may use ({limits['memory_mb']:,} MiB), and for what does not fit "
            f"into it more temporary disk space than it may use ({limits['temp_disk_mb']:,} MiB)."
        )
    detail = f": {clean_message(error)}" if isinstance(error, duckdb.Error) else "."
    return OutOfMemory(f"The query needs more memory than it may use ({limits['memory_mb']:,} MiB){detail}")


def _disk_failed(message: str, limits: Mapping[str, int]) -> OrchestratorError:
    if os.strerror(errno.EFBIG) in message:
        return OutputTooLarge(f"The result is larger than it may be ({limits['output_mb']:,} MiB).")
    if os.strerror(errno.ENOSPC) in message:
        return DiskFull(f"The disk is full, and the query needs more room on it: {message}")
    return StoreUnavailable(message)


def redact_paths(message: str, labels: Mapping[str, str]) -> str:
    """`message` with each path of `labels` replaced by its label, so that clients do not see the path."""
    for path in sorted(labels, key=len, reverse=True):
        message = message.replace(glob.escape(path), labels[path]).replace(path, labels[path])
    return message
