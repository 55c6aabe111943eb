"""Keeps child processes running: starts one again that ended unexpectedly, unless it fails too often."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from orchestrator.devstack.home import StackError
from orchestrator.devstack.processes import ManagedProcess

_DEATHS = 5
_WITHIN = 30.0
_FIRST_PAUSE = 0.1


class Supervisor:
    """Watches child processes, and starts them again when they end.

    Args:
        say: Prints a message for the developer.
        changed: Called when a child runs again under another process id.
    """

    def __init__(self, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        self._say = say
        self._changed = changed
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._defeat: asyncio.Queue[StackError] = asyncio.Queue()

    def watch(self, child: ManagedProcess) -> None:
        """From now on, starts the child again each time it ends."""
        self._watches[child.name] = asyncio.create_task(self._watch(child))

    async def unwatch(self, child: ManagedProcess) -> None:
        """From now on, the child may end."""
        if task := self._watches.pop(child.name, None):
            task.cancel()
            await asyncio.wait({task})

    async def unwatch_all(self) -> None:
        """From now on, all children may end."""
        tasks = set(self._watches.values())
        self._watches.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def wait_for_failure(self) -> StackError:
        """Waits for a child that cannot be kept running, and returns the error that says so."""
        return await self._defeat.get()

    async def _watch(self, child: ManagedProcess) -> None:
        """Keeps a child running. Reports every exception, since no other code awaits this task."""
        try:
            await self._keep(child)
        except StackError as error:
            self._defeat.put_nowait(error)
        except Exception as error:
            self._defeat.put_nowait(StackError(f"{child.name} cannot be watched any more: {error!r}"))

    async def _keep(self, child: ManagedProcess) -> None:
        deaths: deque[float] = deque(maxlen=_DEATHS)
        failure = ""
        while True:
            end = failure or await child.wait()
            await child.stop()  # ends the processes that it left behind
            deaths.append(monotonic())
            recent = sum(death > monotonic() - _WITHIN for death in deaths)
            if recent == _DEATHS:
                raise child.log.error_with_log_tail(
                    f"{child.name} {end}, the {_DEATHS}th failure within {_WITHIN:.0f} seconds"
                )
            await asyncio.sleep(_FIRST_PAUSE * 2 ** (recent - 1))
            failure = await self._start_again(child, end)

    async def _start_again(self, child: ManagedProcess, end: str) -> str:
        """Starts a child that has ended. Returns a text if that fails, as one more death; an empty one otherwise."""
        try:
            await child.start()
        except Exception as error:  # not only StackError: a folder may be gone, a disk full
            self._tell(f"{child.name} {end}, and could not be started again: {error}")
            return f"could not be started again ({str(error).partition(chr(10))[0]})"
        try:
            self._changed()
        except OSError as error:
            self._tell(f"what others need to know of the new {child.name} could not be written: {error}")
        self._tell(f"{child.name} {end}; started again (log: {child.log.path})")
        return ""

    def _tell(self, text: str) -> None:
        # A closed output must not end the stack. Some libraries exit the process then.
        with suppress(Exception, SystemExit):
            self._say(text)
