"""The parent's side of a child process: starting it, exchanging messages with it, and making sure that it has ended.

The parent stops a child by closing its socket. The child's main thread only listens, so it ends the process at once,
even while a query runs in the other thread. DuckDB's own interrupt is slower and unreliable: some of its calls do not
check for it for minutes. A child that does not even listen (it is stopped, or starved) is killed after GRACE_SECONDS.
In both cases the kernel frees all resources, and the parent reports the end only when the process has been reaped.
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import socket
import threading
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple, Self

from orchestrator.aio import uninterruptible
from orchestrator.engines.duckdb.child.entry import serve
from orchestrator.engines.duckdb.object_links import ObjectLinks

GRACE_SECONDS = 0.3
# At this niceness a process has a thirtieth of the usual CPU weight. At 10, which is a ninth, runs of other projects
# took 2.3 times as long.
LOW_PRIORITY = 15
# A process that holds more after its answer is replaced, since DuckDB seldom gives memory back.
_MOST_KEPT = 256 << 20
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Far more than the longest description of columns. A child's messages are not trusted, since a client's SQL runs in it.
_LONGEST_MESSAGE = 32 << 20
# In this order: the first empties the environment, so that the others find no secret in it.
_PRELOADED = [f"orchestrator.engines.duckdb.child.{name}" for name in ("environment", "main", "entry", "preload")]
_FOR_REMOTE_FILES = "orchestrator.engines.duckdb.child.object_files"
_CONTEXT = multiprocessing.get_context("forkserver")
# multiprocessing keeps one list of children for all threads, and reading an exit status twice loses it.
_LOCK = threading.Lock()


def preload_for_remote_files() -> None:
    """Have the server that children are forked from load what reading remote files needs, if it has not started yet."""
    if _FOR_REMOTE_FILES not in _PRELOADED:
        _PRELOADED.insert(-1, _FOR_REMOTE_FILES)  # the last one freezes what is loaded


class ProcessLimits(NamedTuple):
    """The operating system's limits for a child, in bytes: its address space, and each file that it writes."""

    address_space: int
    file_size: int


class ChildProcess:
    """A child process that serves one request at a time. The caller must always call `end`, and may call it again."""

    def __init__(self, limits: ProcessLimits, links: ObjectLinks | None = None) -> None:
        """Create the socket pair. The process is not started yet; see `start`."""
        self.links = links
        """Its sockets for remote files, if it reads any."""
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        given = (self._theirs, *limits, links.theirs if links else [])
        self._process = _CONTEXT.Process(target=serve, args=given, daemon=True)
        self._buffer = bytearray()
        self._pid: int | None = None
        self._ending: asyncio.Future[int | None] | None = None
        self.has_low_priority = False
        """Whether the process has the low priority."""

    @classmethod
    async def start(cls, limits: ProcessLimits, links: ObjectLinks | None = None) -> Self:
        """Start a child and return it. If this is cancelled, no process is left behind."""
        child = cls(limits, links)
        try:
            await uninterruptible(asyncio.to_thread(child._launch))
            if links is not None:
                links.start()
        except BaseException:
            await child.end()
            raise
        return child

    @property
    def pid(self) -> int | None:
        """The id of the process, also when it has ended."""
        return self._pid

    def memory_bytes(self) -> int | None:
        """The resident memory of the process now; None where the system does not report it."""
        try:
            resident = Path(f"/proc/{self._pid}/statm").read_text(encoding="ascii").split()[1]
        except (OSError, IndexError):
            return None
        return int(resident) * _PAGE_BYTES

    def has_ended(self) -> bool:
        """Whether the process has ended, or is being ended."""
        return self._ending is not None or bool(connection.wait([self._process.sentinel], timeout=0))

    def is_worth_keeping(self) -> bool:
        """Whether the next request is served as well by this process as by a new one."""
        return not self.has_low_priority and (self.memory_bytes() or 0) <= _MOST_KEPT

    async def ask(self, message: Any) -> dict[str, Any] | None:  # noqa: ANN401 - anything that JSON can hold
        """Send a message and return the first one that comes back, or None as `receive` does."""
        await self.send(message)
        return await self.receive()

    async def send(self, message: Any, pipe: int | None = None) -> None:  # noqa: ANN401 - anything that JSON can hold
        """Send a message, and with it the file descriptor `pipe`. A child that has ended gets neither.

        A message of bytes is JSON already.
        """
        data = (message if isinstance(message, bytes) else json.dumps(message).encode()) + b"\n"
        with contextlib.suppress(OSError):
            if pipe is not None:
                # An idle child has an empty socket, so the first bytes are taken at once.
                data = data[socket.send_fds(self._ours, [data], [pipe]) :]
            await asyncio.get_running_loop().sock_sendall(self._ours, data)

    async def receive(self) -> dict[str, Any] | None:
        """The next message, or None if the child has ended, or if its message is too long or no JSON object."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._buffer:
            try:
                chunk = await loop.sock_recv(self._ours, 1 << 16)
            except OSError:
                chunk = b""
            if not chunk or len(self._buffer) > _LONGEST_MESSAGE:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError:
            return None
        return message if isinstance(message, dict) else None

    async def end(self) -> int | None:
        """End the child by closing its socket, and return its exit status once it has been reaped.

        The child is killed if it has not ended within GRACE_SECONDS. The status is negative for a signal, None if the
        process never ran. If this is cancelled, it still waits for the end.
        """
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end())
        return await uninterruptible(self._ending)

    async def _end(self) -> int | None:
        try:
            if self._pid is None:
                return None
            with contextlib.suppress(OSError):
                self._ours.shutdown(socket.SHUT_RDWR)
            if not await self._wait_for_exit(GRACE_SECONDS):
                self._process.kill()
                await self._wait_for_exit(None)
            return await asyncio.to_thread(self._reap)
        finally:
            self._ours.close()
            self._theirs.close()
            if self.links is not None:
                await self.links.close()

    async def _wait_for_exit(self, within: float | None) -> bool:
        """Whether the process ends within this many seconds. Its sentinel becomes readable when it ends."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        sentinel = self._process.sentinel
        loop.add_reader(sentinel, ended.set)
        try:
            await asyncio.wait_for(ended.wait(), within)
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(sentinel)
        return True

    def lower_priority(self) -> None:
        """Lower the priority of the process permanently: only a privileged process may raise its own again."""
        if self._pid is None or self._ending is not None:
            return
        self.has_low_priority = True
        process = Path(f"/proc/{self._pid}")
        with contextlib.suppress(OSError):  # it has just ended, or the system has no /proc
            # Linux has a priority for each thread. A thread that is started later inherits that of its creator.
            for thread in (process / "task").iterdir():
                os.setpriority(os.PRIO_PROCESS, int(thread.name), LOW_PRIORITY)
            # Where Linux divides CPU time by session (autogroup), priorities of threads count only within a session.
            (process / "autogroup").write_text(str(LOW_PRIORITY), encoding="ascii")

    def _launch(self) -> None:
        with _LOCK:
            _CONTEXT.set_forkserver_preload(_PRELOADED)
            self._process.start()
            self._pid = self._process.pid
        self._theirs.close()

    def _reap(self) -> int | None:
        with _LOCK:
            self._process.join()
            status = self._process.exitcode
            self._process.close()
        return status
