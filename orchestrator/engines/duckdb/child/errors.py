"""Converts DuckDB's exceptions to errors of the program, and shortens their messages."""

import errno
import glob
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import duckdb

from orchestrator.engines.duckdb.child.engine_advice import split_advice
from orchestrator.engines.duckdb.sql.function_names import REFUSED_FUNCTIONS, TABLE_FUNCTIONS
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
from orchestrator.model.names import fold
from orchestrator.model.nearest import did_you_mean

_MAX_LENGTH = 2000
# A query may raise a message of any length, and DuckDB may quote a line of a file in it. Only this much is processed.
_LOOKED_AT = 16_000
# Messages up to this length are read as a whole.
_PARSED = 1_000_000
# Each of these patterns starts at the start of a line and matches no line break but its own. Otherwise a text of only
# line breaks would be scanned once from each of them.
_QUOTE = re.compile(r"^[ \t]*LINE \d+: ", re.MULTILINE)
# Advice about settings that a client cannot change.
_ADVICE = re.compile(r"\n(?:[ \t]*\n|The search space used was|[ \t]*If this error occurred during read_json)")
_CSV_FILE = re.compile(r"^[ \t]*file = (\S.{0,1000})", re.MULTILINE)
_AS_JSON = '{"exception_type":'
_MESSAGE = re.compile(r'"exception_message":"((?:[^"\\]|\\.){0,16000})', re.DOTALL)
_MEANT = re.compile(r'\nDid you mean "[^\n]*')
_BINDINGS = re.compile(r"\nCandidate bindings: [^\n]*")


# DuckDB proposes any type at all.
_TYPES = (
    *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "NUMERIC"),
    *("VARCHAR", "TEXT", "STRING", "BLOB", "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "INTERVAL", "UUID", "JSON"),
)


class Raised(NamedTuple):
    """The parts of an error: its message, the byte of the statement where it is, and what else is known.

    `facts` may have `error_subtype`, `name`, `type` and `candidates`.
    """

    message: str
    offset: int | None
    facts: Mapping[str, str]


def raised(error: BaseException) -> Raised:
    """The parts of an error of a session, which reports errors as JSON; a message alone for any other error."""
    text = str(error)
    kind, colon, body = text[:_LOOKED_AT].partition(": ")
    if not colon or not body.startswith(_AS_JSON):
        return Raised(text, None, {})
    if len(text) > _PARSED:
        found = _MESSAGE.search(text)
        part = found[1] if found else ""
        with suppress(ValueError):
            part = json.loads('"' + part + '"', strict=False)
        return Raised(f"{kind}: {part}", None, {})
    try:
        facts = json.loads(text[len(kind) + len(colon) :], strict=False)
    except ValueError:
        return Raised(text, None, {})
    offset = str(facts.get("position", ""))
    message = f"{kind}: {facts.get('exception_message', '')}"
    return Raised(message, int(offset) if offset.isdecimal() else None, facts)


def plain_message(error: BaseException) -> str:
    """The whole message of an error of DuckDB's, as a session without JSON has it."""
    return raised(error).message


def clean_message(error: duckdb.Error) -> str:
    """DuckDB's message, without the quoted statement and advice on settings, and with names that can be used."""
    found = raised(error)
    message, instead = split_advice(_before(_QUOTE, found.message[:_LOOKED_AT]))
    file = None
    if "CSV" in message or "read_json" in message or isinstance(error, duckdb.OutOfMemoryException):
        file = _CSV_FILE.search(found.message)  # It follows the quoted line, which may be long.
        message = _before(_ADVICE, message)
    # A statement is bound over relations without rows, which are such lists.
    message = message.replace('Error: Values list "', 'Error: Table "')
    message = _with_names(message[:_MAX_LENGTH], found.facts)
    return " ".join(filter(None, [message, f"(file {file[1]})" if file else "", instead]))[:_MAX_LENGTH]


def _with_names(message: str, facts: Mapping[str, str]) -> str:
    """The message with the names that DuckDB proposes, as far as they are similar and can be used."""
    name, candidates = str(facts.get("name", "")), str(facts.get("candidates", "")).split(",")
    if facts.get("error_subtype") == "MISSING_ENTRY":
        kind = str(facts.get("type"))
        kept = [*(one for one in candidates if _is_usable(kind, one)), *(_TYPES if kind == "Type" else ())]
        return _MEANT.sub("", message) + did_you_mean(name, kept)
    if facts.get("error_subtype") == "COLUMN_NOT_FOUND":
        meant = did_you_mean(name, candidates)
        return _BINDINGS.sub("", message) + meant if meant else message
    return message


def _is_usable(kind: str, name: str) -> bool:
    """Whether a view may use what DuckDB proposes: it proposes functions that are refused, and its own tables."""
    if kind == "Table Function":
        return fold(name) in TABLE_FUNCTIONS
    return kind in {"Scalar Function", "Aggregate Function", "Type"} and fold(name) not in REFUSED_FUNCTIONS


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
