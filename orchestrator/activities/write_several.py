"""The step that writes several members of a generation, whose queries may be short. See workflows/member_writes.py."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from temporalio import activity
from temporalio.exceptions import ApplicationError

from orchestrator.activities.heartbeat import heartbeating
from orchestrator.activities.progress import HEARTBEAT_SECONDS, ProgressReporter, send_update, updating
from orchestrator.activities.write import WriteActivities, error_to_report
from orchestrator.aio import uninterruptible
from orchestrator.engines.admission import sharing_slot
from orchestrator.model.errors import OrchestratorError, RunSuperseded, WorkerBusy
from orchestrator.model.generation import MemberEnd, MemberError, MembersTask, MemberTask
from orchestrator.model.run import Progress
from orchestrator.temporal import contract
from orchestrator.temporal.error_interceptor import translated

# If none has ended in this worker for so long, those that run are not short, and the others wait no longer for them:
# another worker may be free. Where many wait for short ones of another project, each soon has its turn.
_SHORT_SECONDS = 0.25
# After so long, none begins any more in a step with readers: it may have many, and another worker may be free.
_BEGIN_SECONDS = 0.5
# Those that are given back at almost the same time are reported together.
_GATHER_SECONDS = 0.02
_FIRST_REPORT_SECONDS = 1.25
# Each pause between reports is longer than the one before: every report stays in the workflow's history.
_REPORT_GROWTH = 1.5


class _LatestEnd:
    """When a member has last ended in any of these steps of this worker, on the clock that only goes forward."""

    at = 0.0


@dataclass(frozen=True)
class WriteSeveralActivities:
    """The step. `writing` writes each member; `labelled` adds its ids to all that is logged for it."""

    writing: WriteActivities
    labelled: Callable[[MemberTask], AbstractContextManager[None]]
    _latest_end: _LatestEnd = field(default_factory=_LatestEnd, init=False)

    @activity.defn(name=contract.WRITE_SNAPSHOTS)
    async def write_snapshots(self, task: MembersTask) -> tuple[MemberEnd, ...]:
        """Write members as `write_snapshot` does; one that fails does not keep the others from being written.

        Those that wait for their turn are given back when none of this worker has ended for a quarter of a second; if
        some are to be written after others, also after half a second. So are those that come after one without a
        result. That is reported at once, and after a second each that has ended, before this returns.

        If this is tried again, all of them are given back: some are in activities of their own by now, and another
        attempt of theirs would take from those the right to record what they write.
        """
        if activity.info().attempt > 1:
            return tuple(MemberEnd(run_id=one.run_id, number=task.number) for one in task.members)
        several = _Several(self, task, self._latest_end)
        try:
            with sharing_slot():
                async with heartbeating(HEARTBEAT_SECONDS, several.progress):
                    return await several.write()
        except asyncio.CancelledError as error:
            raise error_to_report(error, 1) from error


class _Several:
    """Members that are being written, and how the writing of some has ended."""

    def __init__(self, step: WriteSeveralActivities, several: MembersTask, latest_end: _LatestEnd) -> None:
        self._step = step
        self._latest_end = latest_end
        self._tasks = tasks = several.members
        self._number = several.number
        self._began_at = time.monotonic()
        self._has_readers = any(task.after for task in tasks)
        self._is_written: dict[UUID, bool | None] = {task.run_id: None for task in tasks}  # None: it has not ended
        self._next_end = asyncio.Event()
        self._reporters: dict[UUID, ProgressReporter] = {}
        self._ends: list[MemberEnd] = []
        self._is_given_back = asyncio.Event()

    def progress(self) -> tuple[Progress, ...]:
        """The progress of those whose queries run."""
        return tuple(one.progress for one in self._reporters.values())

    async def write(self) -> tuple[MemberEnd, ...]:
        """Write all of them at the same time; returns how each has ended. A cancel ends their queries first."""
        reporting = asyncio.create_task(self._report())
        writing = [asyncio.create_task(self._write(task)) for task in self._tasks]
        try:
            await asyncio.wait(writing)
        finally:
            for one in (reporting, *writing):
                one.cancel()
            await uninterruptible(asyncio.gather(reporting, *writing, return_exceptions=True))
        return tuple(self._ends)

    async def _write(self, task: MemberTask) -> None:
        writing, run_id = self._step.writing, task.run_id
        end = MemberEnd(run_id=run_id)
        try:
            if await self._is_preceded(task):
                with self._step.labelled(task):
                    result = await writing.write(run_id, writing.attempts, self._reporting)
                end = MemberEnd(run_id=run_id, result=result)
        except RunSuperseded as error:
            # One that it reads may have become outdated since. Then it has its turn after that one.
            end = MemberEnd(run_id=run_id) if task.after else _end(run_id, translated(error))
        except OrchestratorError as error:
            end = _end(run_id, translated(error))
        except ApplicationError as error:
            end = _end(run_id, error)
        finally:
            self._ends.append(end.model_copy(update={"number": self._number}))
            self._is_written[run_id] = end.result is not None
            self._next_end.set()
            self._next_end = asyncio.Event()
            if end.result is None and end.error is None:
                self._is_given_back.set()
            else:
                self._latest_end.at = time.monotonic()

    async def _is_preceded(self, task: MemberTask) -> bool:
        """Whether all are written that are to be written before, and there is still time."""
        while True:
            written = [self._is_written.get(run_id, False) for run_id in task.after]
            if False in written:
                return False
            if None not in written:
                return not self._is_late()
            await self._next_end.wait()

    def are_long(self) -> bool:
        """Whether those that wait for their turn should wait no longer."""
        return time.monotonic() - max(self._began_at, self._latest_end.at) > _SHORT_SECONDS or self._is_late()

    def _is_late(self) -> bool:
        return self._has_readers and time.monotonic() - self._began_at > _BEGIN_SECONDS

    @asynccontextmanager
    async def _reporting(self, run_id: UUID) -> AsyncIterator[ProgressReporter]:
        reporter = self._reporters[run_id] = _Turn(run_id, self.are_long)
        try:
            async with updating(reporter):
                yield reporter
        finally:
            del self._reporters[run_id]

    async def _report(self) -> None:
        """Report those that have ended while others go on."""
        pause, reported = _FIRST_REPORT_SECONDS, 0
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._is_given_back.wait()
                    await asyncio.sleep(_GATHER_SECONDS)
            except TimeoutError:
                pause *= _REPORT_GROWTH
            self._is_given_back.clear()
            new = self._ends[reported:]
            if new and await send_update(contract.MEMBERS_ENDED, tuple(new)):
                reported += len(new)


class _Turn(ProgressReporter):
    """The progress of one of several members, which raises WorkerBusy to give it back if it waits for long ones."""

    def __init__(self, run_id: UUID, are_long: Callable[[], bool]) -> None:
        super().__init__(run_id)
        self._are_long = are_long

    def report(self, progress: Progress) -> None:
        super().report(progress)
        if progress.waiting and self._are_long():
            raise WorkerBusy


def _end(run_id: UUID, error: ApplicationError) -> MemberEnd:
    """The end of a member that has failed. It is tried again by itself if that may help."""
    if not error.non_retryable:
        return MemberEnd(run_id=run_id)
    details = tuple(one if isinstance(one, int) else str(one) for one in error.details)
    return MemberEnd(run_id=run_id, error=MemberError(message=error.message, code=error.type, details=details))
