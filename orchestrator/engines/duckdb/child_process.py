"""The parent's side of a child process: starting it, talking to it, and making sure that it is gone.

A child is stopped by hanging up: its main thread, which only listens, ends the process at once, whatever the query in
the other thread is doing. DuckDB's own interrupt is slower and unsure: some of its calls do not look for it for
minutes. A child that does not even listen (it is stopped, or starved) is killed after a moment. Either way the kernel
takes everything back, and the parent reports the end only when the process has been reaped.
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import socket
import threading
from pathlib import Path
from typing import Any, NamedTuple, Self

from orchestrator.aio import uninterruptible
from orchestrator.engines.duckdb.child.entry import serve

GRACE_SECONDS = 0.3
# At this niceness a process weighs a thirtieth of another one. At 10, a ninth, runs of others took 2.3 times as long.
LOW_PRIORITY = 15
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Far more than the longest description of columns. What a child says is not trusted: an author's query runs in it.
_LONGEST_MESSAGE = 32 << 20
# In this order: what is loaded after the first finds no secret in the environment.
_PRELOADED = [f"orchestrator.engines.{name}" for name in ("bare", "child", "entry", "ahead")]
_CONTEXT = multiprocessing.get_context("forkserver")
# multiprocessing keeps one list of its children, and reading an exit status twice loses it.
_LOCK = threading.Lock()


class ProcessLimits(NamedTuple):
    """What the operating system lets a child have: bytes of address space, and of each file that it writes."""

    address_space: int
    file_size: int


class ChildProcess:
    """A process that does one request at a time. `end` must be called, whatever happens, as often as you like."""

    def __init__(self, limits: ProcessLimits) -> None:
        """Nothing is started yet."""
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._process = _CONTEXT.Process(target=serve, args=(self._theirs, *limits), daemon=True)
        self._buffer = bytearray()
        self._pid: int | None = None
        self._ending: asyncio.Future[int | None] | None = None
        self.gives_way = False
        """Whether the process has the low priority."""

    @classmethod
    async def start(cls, limits: ProcessLimits) -> Self:
        """A child that runs. If this is cancelled, none is left behind."""
        child = cls(limits)
        try:
            await uninterruptible(asyncio.to_thread(child._launch))
        except BaseException:
            await child.end()
            raise
        return child

    @property
    def pid(self) -> int | None:
        """The id of the process, also when it has ended."""
        return self._pid

    def memory_bytes(self) -> int | None:
        """What the process holds of the machine's memory now; None where the system does not say."""
        try:
            resident = Path(f"/proc/{self._pid}/statm").read_text(encoding="ascii").split()[1]
        except (OSError, IndexError):
            return None
        return int(resident) * _PAGE_BYTES

    async def ask(self, message: Any) -> dict[str, Any] | None:  # noqa: ANN401 - anything that JSON can hold
        """Send a message and return the first one that comes back, or None if the child is gone."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self._ours, json.dumps(message).encode() + b"\n")
        return await self.receive()

    async def receive(self) -> dict[str, Any] | None:
        """The next message, or None if the child is gone, or says what it never would."""
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
        """Hang up, which ends the child, kill it if it has not ended soon, and return its exit status once reaped.

        The status is negative for a signal, None if the process never ran. Cancelling waits for the end all the same.
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
            if not await self._gone(GRACE_SECONDS):
                self._process.kill()
                await self._gone(None)
            return await asyncio.to_thread(self._reap)
        finally:
            self._ours.close()
            self._theirs.close()

    async def _gone(self, within: float | None) -> bool:
        """Whether the process ends within so many seconds. Its sentinel is readable from then on."""
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

    def give_way(self) -> None:
        """Lower the priority of the process for good: only a privileged process may raise its own again."""
        if self._pid is None or self._ending is not None:
            return
        self.gives_way = True
        process = Path(f"/proc/{self._pid}")
        with contextlib.suppress(OSError):  # it has just ended, or the system has no such folder
            # Linux has a priority for each thread. One that is started later has that of the thread that starts it.
            for thread in (process / "task").iterdir():
                os.setpriority(os.PRIO_PROCESS, int(thread.name), LOW_PRIORITY)
            # Where sessions share the processor, the priorities of threads count within a session only.
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
