"""Runs programs of other projects: each in a process group that is ended with it, and with its telemetry off."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

# Variables that a user has set for own programs would change the measurement.
_FOREIGN = ("DAGSTER_", "DBT_", "MATVIEW_", "PREFECT_", "PYTHON", "SQLMESH", "VIRTUAL_ENV", "XDG_")
_LIMIT_SECONDS = 1800
_READY_SECONDS = 180
_STOP_SECONDS = 30
_LOOK_SECONDS = 0.02
_TOLD_LINES = 6


class PeerError(Exception):
    """A program cannot be installed, failed, or did something else than it was asked to."""


def environment(folder: Path, binaries: Path, **more: str) -> dict[str, str]:
    """Environment variables for a program: they set its home folder below `folder`, and turn its telemetry off."""
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    own = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    path = f"{binaries}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**own, "HOME": str(home), "PATH": path, "DO_NOT_TRACK": "1", "NO_COLOR": "1", **more}


async def run(command: Sequence[str | Path], folder: Path, variables: Mapping[str, str]) -> None:
    """Run a program to its end.

    Raises:
        PeerError: It failed, or took longer than half an hour.
    """
    async with _started(command, folder, variables) as process:
        try:
            status = await asyncio.wait_for(process.wait(), _LIMIT_SECONDS)
        except TimeoutError:
            raise PeerError(f"{Path(command[0]).name} did not end within {_LIMIT_SECONDS} s") from None
    if status:
        raise PeerError(f"{Path(command[0]).name} ended with {status}: {_last_words(folder)}")


async def typed(line: str, folder: Path, variables: Mapping[str, str]) -> tuple[int, str]:
    """Type a line into a shell; returns its exit status, and all that it printed.

    Raises:
        PeerError: It took longer than half an hour.
    """
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", line),
        cwd=folder,
        env=variables,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), _LIMIT_SECONDS)
    except TimeoutError:
        raise PeerError(f"{line} did not end within {_LIMIT_SECONDS} s") from None
    finally:
        await _end(process)
    return process.returncode or 0, printed.decode(errors="replace")


@asynccontextmanager
async def serving(
    command: Sequence[str | Path],
    folder: Path,
    variables: Mapping[str, str],
    ready: Callable[[int], Awaitable[bool]],
) -> AsyncIterator[int]:
    """Run a server until the context ends; yields its process id, which is also passed to `ready`.

    Raises:
        PeerError: It ended, or did not become ready within three minutes.
    """
    async with _started(command, folder, variables) as process:
        began = time.monotonic()
        while not await ready(process.pid):
            if process.returncode is not None or time.monotonic() - began > _READY_SECONDS:
                raise PeerError(f"{Path(command[0]).name} does not serve: {_last_words(folder)}")
            await asyncio.sleep(_LOOK_SECONDS)
        yield process.pid


@asynccontextmanager
async def _started(
    command: Sequence[str | Path], folder: Path, variables: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    with _log(folder).open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            cwd=folder,
            env=variables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a program, and kill all processes that it has left in its group."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _log(folder: Path) -> Path:
    return folder / "log.txt"


def _last_words(folder: Path) -> str:
    lines = [line.strip() for line in _log(folder).read_text(errors="replace").splitlines()]
    return " / ".join([line for line in lines if line][-_TOLD_LINES:])
