"""Has members written by activities: one each, or one for several whose queries may be short.

An activity of its own costs a small query more than all else: the server writes three events for it, and hands it out.
So members that are ready at the same time share some. Whether a query is short is seen only while it runs. An activity
of several that takes longer than a second therefore reports those members that have ended, so that the views that read
them can begin. It soon gives those back that wait for their turn behind a long one. Each of these then gets an activity
of its own, which any worker can take, as does a member whose query failed in a way in which trying again may help.

Once some were short, the next ones probably are. Then members that are ready share an activity with members that read
them, each of which is written after those that it reads.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any
from uuid import UUID

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from orchestrator.model.generation import MemberEnd, MemberPlan, MemberResult
    from orchestrator.workflows.member_queries import GivenBack

# Fewer members have an activity each: people see them by themselves then, and there is little to save.
_FEWEST = 4
_MOST = 8
# The first members are divided among as many activities, so that all workers get some.
_ACTIVITIES = 4
# An activity that took less time for each of its members had short ones. With longer ones, a second worker would help.
_SHORT_SECONDS = 0.1

WriteOne = Callable[[MemberPlan], Awaitable[MemberResult]]
WriteSeveral = Callable[[Sequence[tuple[MemberPlan, Sequence[UUID]]], int], Awaitable[Iterable[MemberEnd]]]


class _Write:
    """A member that is to be written: `step` is its activity, maybe shared with others, `result` what came of it.

    `after` are the runs that are written before it, by the same activity, and `share` is its part of that. `number` is
    that of a shared activity.
    """

    def __init__(self, member: MemberPlan, after: Sequence[UUID]) -> None:
        self.member = member
        self.after = after
        self.result: asyncio.Future[MemberResult] = asyncio.Future()
        self.step: asyncio.Task[None] | None = None
        self.share = 1.0
        self.is_shared = False
        self.number = 0
        self.is_cancelled = False


class MemberWrites:
    """The members that are being written. `one` writes a single member, `several` some in one activity.

    `several` takes each with the runs after which it is written, and a number for the activity. `is_patched` is false
    in a workflow that began before members shared activities with their readers, and before these had numbers.
    """

    def __init__(self, one: WriteOne, several: WriteSeveral, is_patched: Callable[[], bool]) -> None:
        self._one = one
        self._several = several
        self._is_patched = is_patched
        self._activities = 0
        self._was_short = False
        self._waiting: list[_Write] = []
        self._in_progress: dict[UUID, _Write] = {}
        self._steps: set[asyncio.Task[None]] = set()

    async def write(self, member: MemberPlan, after: Sequence[UUID] = ()) -> MemberResult:
        """Write a member. A cancel is passed on to its activity, and this returns or raises once that has ended.

        `after` are runs of members whose writing has begun by the same event. Raises GivenBack if one of them was not
        written.
        """
        write = self._in_progress[member.run_id] = _Write(member, after)
        self._waiting.append(write)
        if len(self._waiting) == 1:
            # It begins after all members that are started by the same event.
            self._begin(self._distribute())
        began = workflow.time()
        try:
            result = await asyncio.shield(write.result)
        except asyncio.CancelledError:
            write.is_cancelled = True
            if write.step is None:
                raise
            if not write.step.cancelling():
                write.step.cancel()
            return await write.result
        else:
            self._was_short = (workflow.time() - began) * write.share < _SHORT_SECONDS
            return result
        finally:
            self._in_progress.pop(member.run_id, None)

    def may_share_with_readers(self) -> bool:
        """Whether the next members are probably short, so that those that read them can begin with them."""
        return self._was_short and self._is_patched()

    def take(self, ends: Iterable[MemberEnd]) -> None:
        """Members of an activity of several have ended, or are given back. The activity may still go on."""
        for end in ends:
            write = self._in_progress.get(end.run_id)
            # A report may come late, when the member has another activity. It says nothing of what that one does: the
            # result may be one that was forgotten since.
            if write is None or not write.is_shared or write.result.done() or write.number != end.number:
                continue
            if end.result is not None:
                write.result.set_result(end.result)
            elif end.error is not None:
                error = ApplicationError(end.error.message, *end.error.details, type=end.error.code, non_retryable=True)
                write.result.set_exception(error)
            elif write.is_cancelled:
                write.result.set_exception(asyncio.CancelledError())
            elif write.after:
                write.result.set_exception(GivenBack())
            else:
                self._write_alone(write)

    def _write_alone(self, write: _Write) -> None:
        write.is_shared, write.share = False, 1.0
        write.step = self._begin(self._write_one(write))

    def _begin(self, step: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(step)
        self._steps.add(task)
        task.add_done_callback(self._steps.discard)
        return task

    async def _distribute(self) -> None:
        waiting = [write for write in self._waiting if not write.is_cancelled]
        self._waiting = []
        size = 1
        if any(write.after for write in waiting):
            size = len(waiting)
        elif len(waiting) >= _FEWEST:
            are_first = len(self._in_progress) == len(waiting) and not self.may_share_with_readers()
            size = min(_MOST, -(-len(waiting) // _ACTIVITIES)) if are_first else _MOST
        for start in range(0, len(waiting), size):
            some = waiting[start : start + size]
            if len(some) == 1:
                self._write_alone(some[0])
                continue
            self._activities += 1
            number = self._activities if self._is_patched() else 0
            step = self._begin(self._write_several(some, number))
            for write in some:
                write.step, write.is_shared, write.number, write.share = step, True, number, 1 / len(some)

    async def _write_one(self, write: _Write) -> None:
        try:
            result = await self._one(write.member)
        except (Exception, asyncio.CancelledError) as error:
            write.result.set_exception(error)
        else:
            write.result.set_result(result)

    async def _write_several(self, some: Sequence[_Write], number: int) -> None:
        """Write some in one activity. If it is cancelled for one of them, the others are written again."""
        try:
            found = await self._several([(write.member, write.after) for write in some], number)
            # A worker of an earlier release numbers nothing, and this is the answer of this activity in any case.
            ends = [one.model_copy(update={"number": number}) for one in found]
        except (Exception, asyncio.CancelledError):
            ends = [MemberEnd(run_id=write.member.run_id, number=number) for write in some]
        self.take(ends)
