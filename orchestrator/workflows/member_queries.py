"""The queries of the members of a generation or a try: begun, cancelled, and run again if a source file has changed."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any
from uuid import UUID

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from orchestrator.model.generation import CopyOutcome, MemberPlan, RepinRequest
    from orchestrator.model.printable import code
    from orchestrator.model.run import Progress
    from orchestrator.temporal import contract
    from orchestrator.temporal.run_page import members_page, running
    from orchestrator.workflows.endings import ended, is_cancelled
    from orchestrator.workflows.members import Member, Members
    from orchestrator.workflows.steps import uninterruptible

# Pauses before a source table is pinned again whose files have changed. Then its readers fail.
_REPIN_PAUSES = (1.0, 5.0, 20.0)
# As many that are ready at a time share one activity, and so can their readers.
_MOST_WITH_READERS = 8
# Fewer have an activity each.
_FEWEST_TOGETHER = 4

Write = Callable[[MemberPlan, Sequence[UUID]], Awaitable[bool]]
Repin = Callable[[RepinRequest], Coroutine[Any, Any, tuple[UUID, ...]]]


class GivenBack(Exception):
    """A member that was to be written after others was not, and has its turn again: nothing has failed for good."""


class MemberQueries:
    """The queries of members that are in progress, and the last report of each.

    `write` writes a member, after the runs that are given with it, and returns whether its view has changed. It raises
    GivenBack if one of these was not written. `repin` pins a source table of the generation or the try `pinned_by`
    again, and returns the runs that are to run again.
    """

    def __init__(self, members: Members, pinned_by: UUID, write: Write, repin: Repin) -> None:
        self.progress: dict[UUID, Progress] = {}
        self._members = members
        self._pinned_by = pinned_by
        self._write = write
        self._repin_step = repin
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._rounds: dict[UUID, int] = {}
        self._repinning = asyncio.Lock()

    def are_running(self) -> bool:
        """Whether any query is in progress."""
        return bool(self._tasks)

    def is_running(self, run_id: UUID) -> bool:
        """Whether the query of this run is in progress."""
        return run_id in self._tasks

    def start_ready(self, with_readers: Callable[[], bool] = lambda: False) -> None:
        """Begin the queries of all members that may start now.

        If `with_readers`, those that read them begin too. They are written in that order without this workflow being
        asked in between, which takes longer than a short query.
        """
        some: list[tuple[Member, Sequence[UUID]]] = [(member, ()) for member in self._members.start_ready()]
        if 0 < len(some) <= _MOST_WITH_READERS:
            readers = self._members.readers(member for member, _ in some)
            if readers and len(some) + len(readers) >= _FEWEST_TOGETHER and with_readers():
                some += [(member, self._members.unwritten_parents(member)) for member in readers]
                for member in readers:
                    self._members.start(member)
        for member, after in some:
            self._tasks[member.run_id] = asyncio.create_task(self._process(member, after))

    def stop(self, member: Member) -> None:
        """Cancel the query of a member, once."""
        if not member.is_stopping:
            member.is_stopping = True
            self._tasks[member.run_id].cancel()

    def stop_doomed(self) -> None:
        """Cancel the queries that run for nothing."""
        for member in self._members.doomed():
            self.stop(member)

    def stop_all(self) -> None:
        """Cancel all queries."""
        for member in filter(None, map(self._members.find, self._tasks)):
            self.stop(member)

    async def wait(self) -> None:
        """Return when all queries have ended."""
        if self._tasks:
            await workflow.wait(list(self._tasks.values()))

    def page(self) -> str:
        """The members, and the progress of those that run, as Markdown."""
        named = {run: self._members.find(run) for run in self.progress}
        lines = [f"{code(one.plan.name)}: {running(self.progress[run])}" for run, one in named.items() if one]
        return members_page(self._members.shown(), self._members.statuses, self._members.errors, lines)

    async def _process(self, member: Member, after: Sequence[UUID]) -> None:
        """Write one member. Its failure is that of the member alone."""
        try:
            is_changed = await self._write(member.plan, after)
        except GivenBack:
            if member.end is None:
                self._members.retry(member)
            else:
                self._members.fail(member, member.end)
        except (Exception, asyncio.CancelledError) as error:
            moved = None if member.end else _moved_source(error)
            # An outdated query may have read files that are removed by now.
            is_outdated = member.is_outdated and member.end is None and not is_cancelled(error)
            is_pinned_again = moved is not None and await self._repin(member, *moved)
            if (is_outdated or is_pinned_again) and member.end is None:
                self._members.retry(member)
            else:
                self._members.fail(member, ended(member.run_id, error))
        else:
            if member.end is None:
                self._members.take(member, is_changed=is_changed)
            else:
                self._members.fail(member, member.end)
        member.is_stopping = False
        del self._tasks[member.run_id]
        self.progress.pop(member.run_id, None)

    async def _repin(self, member: Member, table: UUID, round_: int) -> bool:
        """Pin a source table again whose files have changed. False if that was done too often."""
        try:
            async with self._repinning:
                if self._rounds.get(table, 0) > round_:
                    return True  # another reader of the table has had it pinned again
                if round_ >= len(_REPIN_PAUSES):
                    return False
                await asyncio.sleep(_REPIN_PAUSES[round_])
                request = RepinRequest(generation_id=self._pinned_by, table_id=table, round=round_)
                # A cancel in between must not keep the other readers from being written again.
                again = await uninterruptible(self._repin_step(request))
                self._rounds[table] = round_ + 1
                self._members.outdate(one for one in again if one != member.run_id)
        except (FailureError, asyncio.CancelledError):
            return False
        return True


def raise_if_cancelled() -> None:
    """Raise a cancel that an uninterruptible step has outlasted."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def raise_if_not_copied(member: MemberPlan, outcomes: Iterable[CopyOutcome]) -> None:
    """Raise the failure of a table of a database that the query of a member reads, if it could not be copied."""
    needed = {one.table_id for one in member.database_inputs if one.is_needed}
    for failure in (one for outcome in outcomes for one in outcome.failures):
        if failure.table_id in needed:
            raise ApplicationError(failure.error, type=failure.error_code, non_retryable=True)


def _moved_source(error: BaseException) -> tuple[UUID, int] | None:
    """The table, and its pin, if the error says that its files have changed."""
    cause = error.cause if isinstance(error, ActivityError) else error
    if not isinstance(cause, ApplicationError) or cause.type != contract.SOURCE_MOVED:
        return None
    table, round_ = cause.details
    return UUID(table), int(round_)
