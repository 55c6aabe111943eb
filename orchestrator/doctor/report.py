"""The report of `matview doctor`, and how its checks run so that none of them hides another."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeVar

from orchestrator.model.base import Value
from orchestrator.model.errors import OrchestratorError

T = TypeVar("T")

SECONDS = 5.0

# Between two clocks: from which difference a check warns.
CLOCK_WARNING = timedelta(seconds=1)
_NAMED_AT_MOST = 3


class Status(StrEnum):
    """The status of a check. `warn`: it works but needs attention, or is undetermined. `fail`: it does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class ReportLine(Value):
    """The result of one check. `advice` says what to do; it is None if all is well or another check must pass first."""

    check: str
    verdict: Status
    message: str
    advice: str | None = None


class Report(Value):
    """The results of all checks, in the order in which they are printed."""

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
    """The result of a check, without the check's name."""

    verdict: Status
    message: str
    advice: str | None = None


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: Its name in the report.
        look: Runs it. May raise any exception.
        advice: The advice to give when it raises or takes too long.
        needs: The names of the checks that it depends on. It is skipped if one of them failed.
        severity_on_error: Its status when it raises or takes too long.
    """

    name: str
    look: Callable[[], Awaitable[CheckResult]]
    advice: str
    needs: tuple[str, ...] = ()
    severity_on_error: Status = Status.FAIL


def ok(message: str) -> CheckResult:
    """The result of a check without a problem."""
    return CheckResult(Status.OK, message)


def warn(message: str, advice: str) -> CheckResult:
    """The result of a check that works, but needs the operator's attention."""
    return CheckResult(Status.WARN, message, advice)


def fail(message: str, advice: str) -> CheckResult:
    """The result of a check that does not work."""
    return CheckResult(Status.FAIL, message, advice)


async def run_checks(checks: Sequence[Check], seconds: float = SECONDS) -> Report:
    """Run all checks, concurrently where none needs another. Each may take `seconds` at most."""
    done: dict[str, ReportLine] = {}
    waiting = list(checks)
    while waiting:
        ready = [check for check in waiting if not set(check.needs) & {other.name for other in waiting}]
        lines = await asyncio.gather(*(_line(check, done, seconds) for check in ready))
        done |= {line.check: line for line in lines}
        waiting = [check for check in waiting if check.name not in done]
    return Report(lines=tuple(done[check.name] for check in checks))


async def run_in_daemon_thread(work: Callable[[], T]) -> T:
    """Run `work` in a daemon thread, and return its result.

    The process does not wait for that thread at its end, since a dead file system may never answer.
    """
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
        message = f"not looked at: it needs {' and '.join(hindered)}"
        return ReportLine(check=check.name, verdict=Status.WARN, message=message)
    try:
        async with asyncio.timeout(seconds):
            found = await check.look()
    except TimeoutError:
        found = CheckResult(check.severity_on_error, f"no answer within {seconds:g} seconds", check.advice)
    except Exception as error:  # an error here must not keep the other checks out of the report
        found = CheckResult(check.severity_on_error, _why(error), check.advice)
    return ReportLine(check=check.name, verdict=found.verdict, message=found.message, advice=found.advice)


def _why(error: Exception) -> str:
    """The message of an error, in one line, followed by that of the database driver if it caused the error."""
    own = error.message if isinstance(error, OrchestratorError) else str(error) or type(error).__name__
    refusal = getattr(error.__cause__, "orig", None)
    message = own if refusal is None else f"{own} {refusal}"
    return " ".join(message.split())


def some_of(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
