"""The process that DuckDB runs in: it answers requests from a socket until its parent is gone.

The main thread only listens, so that it notices at once when the parent closes the socket or dies, whatever the query
in the other thread is doing: the process then ends, and the query with it. DuckDB's own interrupt would not do, since
some of its calls do not look for it for minutes. A message is a line of JSON; an answer has "ok", "error" or "percent".
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
from pathlib import Path
from typing import Any

import duckdb

from orchestrator.engines.jobs import JOBS
from orchestrator.model.errors import EngineCrashed, InvalidQuery, OrchestratorError

_TICK_SECONDS = 0.25
# Room for deeply nested statements: DuckDB accepts a thousand levels, and each takes several frames to walk.
_STACK_BYTES = 256 << 20
_RECURSION_LIMIT = 50_000
_PR_SET_PDEATHSIG = 1
# Loaded before the fork, so that no child pays for it.
_LIBC = ctypes.CDLL(None)


def main(sock: socket.socket, address_space: int) -> None:
    """Serve `sock` until it is closed at the other end. `address_space` limits the process's memory, in bytes."""
    _guard_process(address_space)
    desk = _Desk(sock)
    worker = threading.Thread(target=desk.work, daemon=True)
    worker.start()
    desk.listen()
    # Not a normal exit: the worker's query may ignore everything but the end of its process.
    os._exit(0)


def _guard_process(address_space: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):
            # If the machine runs out of memory, a query has to go before the server does.
            Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    # DuckDB's own limit does not cover every operator; beyond this one an allocation fails inside it.
    resource.setrlimit(resource.RLIMIT_AS, (address_space + _STACK_BYTES, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.setrecursionlimit(_RECURSION_LIMIT)
    threading.stack_size(_STACK_BYTES)


class _Desk:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()
        self._requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def listen(self) -> None:
        """Take messages, and tell the progress of a running query, until the parent closes the socket."""
        buffer = b""
        while True:
            readable, _, _ = select.select([self._sock], [], [], _TICK_SECONDS)
            if not readable:
                self._tell_progress()
                continue
            chunk = self._sock.recv(1 << 16)
            if not chunk:
                return
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                self._requests.put(json.loads(line))

    def work(self) -> None:
        """Do the requests one by one."""
        while True:
            request = self._requests.get()
            answer = _answer(request, self._watch)
            self._connection = None
            self._send(answer)

    def _watch(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def _tell_progress(self) -> None:
        connection = self._connection
        if connection:
            percent = connection.query_progress()
            self._send({"percent": percent if percent >= 0 else None})

    def _send(self, message: dict[str, Any]) -> None:
        with self._sending:
            try:
                self._sock.sendall(json.dumps(message).encode() + b"\n")
            except OSError:
                os._exit(1)


def _answer(request: dict[str, Any], watch: Any) -> dict[str, Any]:  # noqa: ANN401 - see jobs.Watch
    try:
        return {"ok": JOBS[request["job"]](request, watch)}
    except OrchestratorError as error:
        told = error
    except RecursionError:
        told = InvalidQuery("Invalid query: it is too complex to analyse.", attr="query")
    except Exception as error:
        told = EngineCrashed(f"The process that reads queries failed: {type(error).__name__}.")
    return {"error": told.code, "message": told.message, "attr": told.attr}
