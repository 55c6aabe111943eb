"""Child processes with a log file and a check for readiness, which never outlive their parent."""

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
from typing import Any, ClassVar

from orchestrator.aio import uninterruptible
from orchestrator.devstack.home import Home, LockHeld, StackError, take_lock, write_lock_owner
from orchestrator.devstack.logs import Log

READY_WITHIN = 60.0
_STOP_WITHIN = 15.0
_PREDECESSOR_GONE_WITHIN = 15.0
_PR_SET_PDEATHSIG = 1


class ManagedProcess:
    """A program that runs as a child process. Subclasses define its command and its check for readiness."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    # The kernel sends it when this process dies: SIGKILL, since no process is left then to wait for a slow shutdown.
    death_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, name: str, home: Home) -> None:
        self.name = name
        self.home = home
        self.log = Log(home.logs / f"{name}.log")
        self._process: Process | None = None
        self._end = "was not started"
        self.not_ready_reason = ""  # the last error in `ready`, for the message

    def command(self) -> Sequence[str]:
        """The program and its arguments."""
        raise NotImplementedError

    def privileges(self) -> Sequence[str]:
        """Options of `setpriv` for the program: none by default, so that it runs as the user of this process."""
        return ()

    def environment(self) -> Mapping[str, str]:
        """The whole environment of the program."""
        raise NotImplementedError

    def directory(self) -> Path | None:
        """The working directory of the program; None for that of this process."""
        return None

    async def prepare(self) -> None:
        """Prepares a start. No process of an earlier start is running by then."""

    async def ready(self) -> bool:
        """Whether the program is ready to work."""
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The process id while the program runs, otherwise None."""
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
        kill_group(self._process)  # also when it has ended: its children may still run
        await self.wait()
        self._process = None  # its pid may soon be another process's

    def kill(self) -> None:
        """Kills the program, without a chance to clean up."""
        if self._process and self.pid:
            self._process.kill()

    async def wait(self) -> str:
        """Waits for the program to end, and returns how it ended."""
        if self._process:
            self._end = describe_exit(await self._process.wait())
        return self._end

    async def _wait_for_predecessor(self) -> int:
        """Takes the lock, which the last start's process and its descendants hold while alive. Raises StackError."""
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
    """Starts a program in a new session, so that the terminal's Ctrl-C does not reach it."""
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
    """Kills the process group of a program that `spawn` started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def with_parent_death_signal(
    argv: Sequence[str], death_signal: signal.Signals, privileges: Sequence[str] = ()
) -> tuple[list[str], Callable[[], None] | None]:
    """The command and the `preexec_fn` with which the kernel signals a program when this process dies.

    Where `setpriv` exists, the command begins with it: it starts as fast, and needs no Python code in a forked child.
    Only `setpriv` can also change the user, since the kernel clears an earlier death signal when the user changes.
    Raises StackError if `privileges` are given and it is missing.
    """
    setpriv = shutil.which("setpriv")
    if setpriv:
        return [setpriv, "--pdeathsig", death_signal.name.removeprefix("SIG"), *privileges, "--", *argv], None
    if privileges:
        raise StackError("PostgreSQL does not run as root, and the command setpriv (util-linux), which would start it"
                         " as another user, is missing; install it, or start as an ordinary user")  # fmt: skip
    if sys.platform != "linux":
        return list(argv), None  # other systems have no such signal; the locks still prevent a second start
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(1)

    return list(argv), tie


def describe_exit(status: int) -> str:
    """How a process ended, for a sentence that starts with its name."""
    return f"ended with status {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"


async def gather_or_cancel(*work: Coroutine[Any, Any, object]) -> None:
    """Awaits all coroutines concurrently; when one fails, cancels the others and waits for them."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await uninterruptible(_settle(tasks))


async def _settle(tasks: Sequence[asyncio.Future[object]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
