"""The child's side of remote files: which the present query may read, and the sockets over which the parent is asked.

DuckDB reads from several threads at once. A thread has a socket to itself while it waits for an answer.
"""

import json
import queue
import socket
from collections.abc import Iterable, Mapping

from orchestrator.engines.duckdb.object_wire import LENGTH, MOST_BYTES
from orchestrator.model.errors import (
    InputMissing,
    InputReplaced,
    OrchestratorError,
    SourceUnavailable,
    StoreUnavailable,
)

_ERRORS: dict[str, type[OrchestratorError]] = {
    error.code: error for error in (InputMissing, InputReplaced, SourceUnavailable, StoreUnavailable)
}

_links: "queue.SimpleQueue[socket.socket]" = queue.SimpleQueue()
_failures: list[OrchestratorError] = []
sizes: dict[str, int] = {}
"""The sizes of the files that the present query may read, by URL."""


def open_links(links: Iterable[socket.socket]) -> None:
    """Ask over these sockets from now on."""
    for link in links:
        link.setblocking(True)
        _links.put(link)


def grant(files: Mapping[str, int]) -> None:
    """Let the next query read these files, of which the sizes are given by URL."""
    sizes.clear()
    sizes.update(files)
    _failures.clear()


def failure_of_remote_files() -> OrchestratorError | None:
    """The first error with which the parent answered since the files were granted."""
    return _failures[0] if _failures else None


def read(url: str, start: int, end: int) -> bytes:
    """The bytes of a file from `start` to before `end`. Raises OSError, and keeps the parent's error."""
    parts = [_ask(url, at, min(end, at + MOST_BYTES)) for at in range(start, end, MOST_BYTES)]
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _ask(url: str, start: int, end: int) -> bytes:
    link = _links.get()
    try:
        link.sendall(json.dumps([url, start, end]).encode() + b"\n")
        (length,) = LENGTH.unpack(_received(link, LENGTH.size))
        content = _received(link, abs(length))
    finally:
        _links.put(link)
    if length >= 0:
        return content
    said = json.loads(content)
    _failures.append(_ERRORS.get(said["code"], StoreUnavailable)(said["message"]))
    raise OSError(said["message"])


def _received(link: socket.socket, count: int) -> bytes:
    found = bytearray(count)
    view, at = memoryview(found), 0
    while at < count:
        more = link.recv_into(view[at:])
        if not more:
            raise OSError("the parent process has closed the socket")
        at += more
    return bytes(found)
