"""The session of a process that serves one query after another.

To open a session takes longer than most queries. The first request settles which paths the process may open, for the
sandbox and for DuckDB alike: neither can be widened later.
"""

import os
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import duckdb

from orchestrator.engines.duckdb.child.object_access import grant
from orchestrator.engines.duckdb.child.plan import Request, Task, Watch
from orchestrator.engines.duckdb.child.session import drops, open_session
from orchestrator.engines.duckdb.sources.discovery import SourceFile


@dataclass
class Session:
    """A connection, and the relations that queries have created on it, as RelationBinder keeps them.

    `may_be_seeded` says that a query may have set the seed of its random numbers.
    """

    connection: duckdb.DuckDBPyConnection
    created: dict[str, str] = field(default_factory=dict)
    may_be_seeded: bool = False

    def clear(self) -> None:
        """Drop all that earlier queries have created, and forget the seed that one of them may have set."""
        statements = drops(self.created)
        if self.may_be_seeded:
            statements.append(f"SELECT setseed({random.uniform(-1, 1)})")  # noqa: S311 - no secret
        if statements:
            self.connection.execute("; ".join(statements))
        self.created.clear()
        self.may_be_seeded = True  # until the next query is known to set none


class _Reach(NamedTuple):
    files: tuple[SourceFile, ...]
    folders: tuple[str, ...]
    writable: tuple[str, ...]
    remote: bool


# One entry each: the paths that the process may open, once its first request has come; its session, once it is open.
_reaches: list[_Reach] = []
_sessions: list[Session] = []


def within_reach(request: Request, work: Callable[[Request, Watch], Any]) -> Task:
    """The task that does `work`, in a process that may open what its first request says, and its spill folder."""
    if "reach" in request:
        reach = request["reach"]
        files = tuple(SourceFile(*file) for file in reach["files"])
        writable = tuple(map(os.path.realpath, reach["writable"]))
        _reaches[:] = [_Reach(files, tuple(reach["folders"]), writable, reach["remote"])]
    (reach,) = _reaches
    writable = (*reach.writable, os.path.realpath(request["temp_directory"]))
    return Task(partial(work, request), readable=reach.files, writable=writable, folders=reach.folders)


def kept_session(request: Request, *, for_reader: bool, files: Iterable[str] = ()) -> Session:
    """The session of this process, which can open what is within its reach, and `files` beside it."""
    if "remote" in request:
        grant(request["remote"])
    if not _sessions:
        (reach,) = _reaches
        connection = open_session(
            request["limits"],
            spill=request["temp_directory"],
            files=[*files, *(file.real for file in reach.files)],
            folders=[*reach.folders, *reach.writable],
            for_reader=for_reader,
            remote=reach.remote,
        )
        _sessions.append(Session(connection))
    elif for_reader:
        _sessions[0].may_be_seeded = True
    return _sessions[0]
