"""A child process that keeps a log, says when it is ready, and never outlives its parent."""

import asyncio
import ctypes
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from orchestrator.aio import uninterruptible
from orchestrator.devstack.home import Home, LockHeld, StackError, take_lock, write_lock_owner
from orchestrator.devstack.logs import Log

T = TypeVar("T")

READY_WITHIN = 60.0
_STOP_WITHIN = 15.0
_PREDECESSOR_GONE_WITHIN = 15.0
_PR_SET_PDEATHSIG = 1


class ManagedProcess:
    """A program that runs beside this one; subclasses say which, and how to tell that it is ready."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    # What it is sent when this process dies. There is nobody left then to wait for a slow goodbye.
    death_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, name: str, home: Home) -> None:
        self.name = name
        self.home = home
        self.log = Log(home.logs / f"{name}.log")
        self._process: Process | None = None
        self._end = "was not started"
        self.not_ready_reason = ""  # what `ready` last ran into, if that is worth saying

    def command(self) -> Sequence[str]:
        """The program and its arguments."""
        raise NotImplementedError

    def privileges(self) -> Sequence[str]:
        """Options of `setpriv` for the program: none, so that it runs as whoever runs this one."""
        return ()

    def environment(self) -> Mapping[str, str]:
        """The whole environment of the program."""
        raise NotImplementedError

    def directory(self) -> Path | None:
        """Where the program starts; None for where this one did."""
        return None

    async def prepare(self) -> None:
        """Makes everything ready for a start; nothing of an earlier start is running by then."""

    async def ready(self) -> bool:
        """Whether the program does its work by now."""
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The process id while the program runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Starts the program and returns when it is ready.

        Raises:
            StackError: When it ends instead, or is not ready in time.
        """
        self.not_ready_reason = ""
        lock = await self._wait_for_predecessor()
        try:
            await self.prepare()
            self._process = await spawn(
                self.command(),
                self.log,
                self.environment(),
                death_signal=self.death_signal,
                privileges=self.privileges(),
                directory=self.directory(),
                lock=lock,
            )
            write_lock_owner(lock, self._process.pid)
        finally:
            os.close(lock)  # from here on the child holds it
        try:
            await self._wait_until_ready()
        except BaseException:
            await uninterruptible(self.stop())
            raise

    async def stop(self) -> None:
        """Stops the program, by force if it takes too long, and returns when it is gone."""
        if self._process is None:
            return
        with suppress(TimeoutError, ProcessLookupError):
            if self.pid:
                self._process.send_signal(self.stop_signal)
            await asyncio.wait_for(self._process.wait(), _STOP_WITHIN)
        kill_group(self._process)  # also when it has ended: what it started may be left
        await self.wait()
        self._process = None  # its number may soon be another's

    def kill(self) -> None:
        """Kills the program, without a chance to clean up."""
        if self._process and self.pid:
            self._process.kill()

    async def wait(self) -> str:
        """Waits for the program to end, and says how it did."""
        if self._process:
            self._end = describe_exit(await self._process.wait())
        return self._end

    async def _wait_for_predecessor(self) -> int:
        """Takes the lock that the last start's process, and all that came from it, held while alive."""
        pid = ""
        for _ in range(int(_PREDECESSOR_GONE_WITHIN / 0.05)):
            try:
                return take_lock(self.home.run / f"{self.name}.lock")
            except LockHeld as held:
                pid = held.pid
            await asyncio.sleep(0.05)
        raise StackError(f"an earlier {self.name} (pid {pid}) is still running; end it and try again")

    async def _wait_until_ready(self) -> None:
        ended, ready = asyncio.create_task(self.wait()), asyncio.create_task(self._poll())
        try:
            await asyncio.wait({ended, ready}, timeout=READY_WITHIN, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise self.log.error_with_log_tail(f"{self.name} {ended.result()} while starting")
            if not ready.done():
                why = f" ({self.not_ready_reason})" if self.not_ready_reason else ""
                raise self.log.error_with_log_tail(f"{self.name} was not ready within {READY_WITHIN:.0f} seconds{why}")
            ready.result()
        finally:
            ended.cancel()
            ready.cancel()
            await asyncio.wait({ended, ready})

    async def _poll(self) -> None:
        while True:
            if await self.ready():
                return
            await asyncio.sleep(0.02)


async def spawn(
    argv: Sequence[str],
    log: Log,
    environment: Mapping[str, str],
    *,
    death_signal: signal.Signals = signal.SIGKILL,
    privileges: Sequence[str] = (),
    directory: Path | None = None,
    lock: int | None = None,
) -> Process:
    """Starts a program in a session of its own, where the terminal's Ctrl-C does not reach it."""
    tied, preexec = with_parent_death_signal(argv, death_signal, privileges)
    output = log.open()
    try:
        return await asyncio.create_subprocess_exec(
            *tied,
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            env=environment,
            cwd=directory,
            pass_fds=() if lock is None else (lock,),
            start_new_session=True,
            preexec_fn=preexec,
        )
    finally:
        os.close(output)


async def run_once(
    name: str,
    argv: Sequence[str],
    log: Log,
    environment: Mapping[str, str],
    *,
    privileges: Sequence[str] = (),
    directory: Path | None = None,
) -> None:
    """Runs a program to its end.

    Raises:
        StackError: When it ends with anything but status 0.
    """
    process = await spawn(argv, log, environment, privileges=privileges, directory=directory)
    try:
        status = await process.wait()
    except asyncio.CancelledError:
        kill_group(process)
        await uninterruptible(process.wait())
        raise
    if status:
        raise log.error_with_log_tail(f"{name} {describe_exit(status)}")


def kill_group(process: Process) -> None:
    """Kills a program that `spawn` started, and what it started in turn."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def with_parent_death_signal(
    argv: Sequence[str], death_signal: signal.Signals, privileges: Sequence[str] = ()
) -> tuple[list[str], Callable[[], None] | None]:
    """The command, and the hook between fork and exec, that tie a program to the life of this process.

    `setpriv` goes first where it exists: it starts as fast, needs no Python code in a forked child, and is the only
    one that can also change the user, which makes the kernel forget a signal that was set before.
    """
    setpriv = shutil.which("setpriv")
    if setpriv:
        return [setpriv, "--pdeathsig", death_signal.name.removeprefix("SIG"), *privileges, "--", *argv], None
    if privileges:
        raise StackError("PostgreSQL does not run as root, and the command setpriv (util-linux), which would start it"
                         " as another user, is missing; install it, or start as an ordinary user")  # fmt: skip
    if sys.platform != "linux":
        return list(argv), None  # other systems offer nothing like it; the locks still keep a second start apart
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return list(argv), tie


def describe_exit(status: int) -> str:
    """How a process ended, for a sentence that starts with its name."""
    return f"ended with status {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"


async def gather_or_cancel(*work: Coroutine[Any, Any, object]) -> None:
    """Does everything at once; when one fails, the others are cancelled and waited for."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await uninterruptible(_settle(tasks))


async def _settle(tasks: Sequence[asyncio.Future[object]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
