"""What an examination tells, and how checks are done so that none of them hides another."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from orchestrator.model.base import Value
from orchestrator.model.errors import OrchestratorError

T = TypeVar("T")

SECONDS = 5.0


class Status(StrEnum):
    """How something stands. `warn` works, or cannot be told; `fail` does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class ReportLine(Value):
    """What one check found. `advice` says what to do; there is none where all is well or another check comes first."""

    check: str
    verdict: Status
    told: str
    advice: str | None = None


class Report(Value):
    """Everything that was found, in the order in which it is told."""

    lines: tuple[ReportLine, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing failed."""
        return self.count(Status.FAIL) == 0

    def count(self, verdict: Status) -> int:
        """How many lines have this verdict."""
        return sum(line.verdict is verdict for line in self.lines)


@dataclass(frozen=True)
class CheckResult:
    """What a look at something told, without the check's name."""

    verdict: Status
    told: str
    advice: str | None = None


@dataclass(frozen=True)
class Check:
    """One thing to look at.

    Attributes:
        name: What it is called.
        look: Looks, and may raise anything.
        advice: What to do when it raises.
        needs: The checks that must not have failed, or there is nothing to look at.
        at_worst: How bad it is when it raises or takes too long.
    """

    name: str
    look: Callable[[], Awaitable[CheckResult]]
    advice: str
    needs: tuple[str, ...] = ()
    severity_on_error: Status = Status.FAIL


def ok(told: str) -> CheckResult:
    """All is as it should be."""
    return CheckResult(Status.OK, told)


def warn(told: str, advice: str) -> CheckResult:
    """It works, and somebody should look at it all the same."""
    return CheckResult(Status.WARN, told, advice)


def fail(told: str, advice: str) -> CheckResult:
    """It does not work."""
    return CheckResult(Status.FAIL, told, advice)


async def run_checks(checks: Sequence[Check], seconds: float = SECONDS) -> Report:
    """Do every check, those that need no other at the same time; each may take that long and no longer."""
    done: dict[str, ReportLine] = {}
    waiting = list(checks)
    while waiting:
        ready = [check for check in waiting if not set(check.needs) & {other.name for other in waiting}]
        lines = await asyncio.gather(*(_line(check, done, seconds) for check in ready))
        done |= {line.check: line for line in lines}
        waiting = [check for check in waiting if check.name not in done]
    return Report(lines=tuple(done[check.name] for check in checks))


async def run_in_daemon_thread(work: Callable[[], T]) -> T:
    """What `work` returns, done in a thread that nobody waits for in the end: a dead file system may never answer."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(settle: Callable[[], None]) -> None:
        if not answer.done():
            settle()

    def do() -> None:
        try:
            result = work()
        except Exception as error:
            loop.call_soon_threadsafe(tell, lambda error=error: answer.set_exception(error))
        else:
            loop.call_soon_threadsafe(tell, lambda: answer.set_result(result))

    threading.Thread(target=do, daemon=True).start()
    return await answer


async def _line(check: Check, done: dict[str, ReportLine], seconds: float) -> ReportLine:
    hindered = [need for need in check.needs if done[need].verdict is Status.FAIL]
    if hindered:
        told = f"not looked at: it needs {' and '.join(hindered)}"
        return ReportLine(check=check.name, verdict=Status.WARN, told=told)
    try:
        async with asyncio.timeout(seconds):
            found = await check.look()
    except TimeoutError:
        found = CheckResult(check.severity_on_error, f"no answer within {seconds:g} seconds", check.advice)
    except Exception as error:  # whatever is wrong here, the others are told all the same
        found = CheckResult(check.severity_on_error, _why(error), check.advice)
    return ReportLine(check=check.name, verdict=found.verdict, told=found.told, advice=found.advice)


def _why(error: Exception) -> str:
    """What is wrong, in one line: in the words of whatever refused, where the program's own are about the outcome."""
    own = error.message if isinstance(error, OrchestratorError) else str(error) or type(error).__name__
    refusal = getattr(error.__cause__, "orig", None)
    told = own if refusal is None else f"{own} {refusal}"
    return " ".join(told.split())
