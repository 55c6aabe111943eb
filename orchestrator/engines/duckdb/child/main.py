"""The process that DuckDB runs in: it answers requests from a socket until its parent closes the socket or ends.

The main thread only listens, so that it notices this at once, even while a query runs in the other thread. It then ends
the process, and the query with it. DuckDB's own interrupt would not suffice, since some of its calls do not check for
it for minutes. A message is a line of JSON; an answer has "ok", "error" or "percent".
"""

import contextlib
import ctypes
import json
import os
import queue
import resource
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from orchestrator.engines.duckdb.child.environment import clear_environment
from orchestrator.engines.duckdb.child.handlers import HANDLERS
from orchestrator.engines.duckdb.child.plan import Answered, Task
from orchestrator.engines.duckdb.sandbox.confine import confine
from orchestrator.model.errors import EngineCrashed, InvalidQuery, InvalidSource, OrchestratorError, QueryFailed

_TICK_SECONDS = 0.25
# Temporal accepts at most 2 MB as the result of an activity, and no description of columns that people read is as long.
_LONGEST_ANSWER = 1_500_000
_LONGEST_ERROR = 4_000
# For deeply nested statements: DuckDB accepts a thousand levels, and each takes several frames to walk.
_STACK_BYTES = 256 << 20
_RECURSION_LIMIT = 50_000
_PR_SET_PDEATHSIG = 1
# Loaded before the fork, so that no child spends time on it.
_LIBC = ctypes.CDLL(None)


def main(sock: socket.socket, address_space: int, file_size: int) -> None:
    """Serve `sock` until it is closed at the other end.

    The process may take `address_space` bytes of memory, and write files of `file_size` bytes.
    """
    _guard_process(address_space, file_size)
    _RequestLoop(sock).listen()
    # Not a normal exit: the query in the other thread may ignore everything but the end of its process.
    os._exit(0)


def _guard_process(address_space: int, file_size: int) -> None:
    clear_environment()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):
            # If the machine runs out of memory, the kernel should kill a query before a server.
            Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    # DuckDB's own memory limit does not cover every operator. Beyond this limit, an allocation inside DuckDB fails.
    _limit(resource.RLIMIT_AS, address_space + _STACK_BYTES)
    # Python ignores SIGXFSZ, so that a write beyond this limit fails with EFBIG instead of ending the process.
    _limit(resource.RLIMIT_FSIZE, file_size)
    _limit(resource.RLIMIT_CORE, 0)
    sys.setrecursionlimit(_RECURSION_LIMIT)
    threading.stack_size(_STACK_BYTES)


def _limit(what: int, value: int) -> None:
    """Set a limit permanently, or keep the machine's limit if that is lower."""
    hard = resource.getrlimit(what)[1]
    lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (lowest, lowest))


class _RequestLoop:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._send_lock = threading.Lock()
        self._tasks: queue.SimpleQueue[tuple[str, Task]] = queue.SimpleQueue()
        self._working = False
        self._connection: duckdb.DuckDBPyConnection | None = None
        # Never closed: closing would free the database piece by piece, and the process ends without that.
        self._kept: duckdb.DuckDBPyConnection | None = None

    def listen(self) -> None:
        """Receive messages, and send the progress of a running query, until the parent closes the socket."""
        buffer = bytearray()
        received: list[int] = []
        while True:
            readable, _, _ = select.select([self._sock], [], [], _TICK_SECONDS)
            if not readable:
                self._send_progress()
                continue
            chunk, pipes, _, _ = socket.recv_fds(self._sock, 1 << 16, 1)
            if not chunk:
                return
            # A pipe comes with the first byte of the request that it belongs to, and requests come one by one.
            received += pipes
            buffer += chunk
            if b"\n" in chunk:
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    self._take(json.loads(line) | {"pipe": received.pop() if received else None})

    def _take(self, request: dict[str, Any]) -> None:
        """Prepare a request, and queue it for the thread that runs requests one by one."""
        answer = _answer(partial(self._prepare, request))
        if "ok" not in answer:
            self._send(answer)

    def _prepare(self, request: dict[str, Any]) -> None:
        task = HANDLERS[request["job"]](request)
        if isinstance(task, Answered):
            self._send({"ok": task.value})
            return
        if not self._working:
            # No client's SQL was parsed so far, and there is no other thread, which the sandbox would not cover.
            try:
                confine(task.readable, task.writable, task.folders)
            except OSError as error:
                raise EngineCrashed(f"The process could not be confined: {error.strerror}.") from error
            threading.Thread(target=self._work, daemon=True).start()
            self._working = True
        self._tasks.put((request["job"], task))

    def _work(self) -> None:
        while True:
            job, task = self._tasks.get()
            line = _line(_answer(partial(task.work, self._watch)))
            self._connection = None
            self._send_line(line if len(line) <= _LONGEST_ANSWER else _line(_answer(partial(_refuse, job))))

    def _watch(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = self._kept = connection

    def _send_progress(self) -> None:
        connection = self._connection
        if connection:
            percent = connection.query_progress()
            self._send({"percent": percent if percent >= 0 else None})

    def _send(self, message: dict[str, Any]) -> None:
        self._send_line(_line(message))

    def _send_line(self, line: bytes) -> None:
        with self._send_lock:
            try:
                self._sock.sendall(line)
            except OSError:
                os._exit(1)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _refuse(job: str) -> None:
    """Raise the error for an answer that is too long: a permanent fault of the query or of the files."""
    if job == "describe_source":
        raise InvalidSource("The names and types of the columns in these files are too long.", attr="url_pattern")
    reason = "The names and types of its columns are too long."
    raise QueryFailed(reason) if job == "write" else InvalidQuery(f"Invalid query: {reason}", attr="query")


def _answer(work: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"ok": work()}
    except OrchestratorError as error:
        reported = error
    except RecursionError:
        reported = InvalidQuery("Invalid query: it is too complex to analyse.", attr="query")
    except Exception as error:
        reported = EngineCrashed(f"The process that reads queries failed: {type(error).__name__}.")
    # The message may quote a name in a file, or a text in a query, of any length.
    position = None if reported.position is None else reported.position.as_json()
    return {
        "error": reported.code,
        "message": reported.message[:_LONGEST_ERROR],
        "attr": reported.attr,
        "position": position,
    }
