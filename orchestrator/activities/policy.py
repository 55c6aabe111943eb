"""The failure policy: what the end of a run means for the view's schedule, and for whoever wants to be told.

Whether a schedule is paused is Temporal's to know, and how often a view failed is counted from its runs; so there is
nothing to keep here but a copy of the pause, for a Temporal server that loses it. A step may be repeated after a lost
answer: it finds its own work done and says the same again.
"""

from dataclasses import dataclass
from uuid import UUID, uuid5

from orchestrator.catalog import failures, journal, pauses
from orchestrator.catalog.database import Database
from orchestrator.catalog.failures import Standing
from orchestrator.model.journal import Verb
from orchestrator.model.notice import Notice, NoticeData, NoticeType
from orchestrator.model.printable import lines, one_line
from orchestrator.model.run import RunStatus, Trigger
from orchestrator.temporal.schedules import FAILING_NOTE, Schedules

# So many failed scheduled runs in a row are not bad luck.
FAILURES_TO_PAUSE = 5

_LONGEST_ERROR = 300


@dataclass(frozen=True)
class FailurePolicy:
    """Pauses the schedules of views that fail again and again. `notifies` says whether a webhook is told."""

    database: Database
    schedules: Schedules
    notifies: bool

    async def apply(self, standing: Standing) -> tuple[Notice, ...]:
        """Draw the consequences of a run that has ended; returns what a webhook is to be told.

        To be called after the transaction that ended the run. Raises TemporalUnavailable.
        """
        told = _transition(standing)
        if standing.run.status is RunStatus.COMPLETED and standing.unforgiven >= FAILURES_TO_PAUSE:
            await self._lift(standing)
        if standing.run.status is RunStatus.FAILED and _is_one_too_many(standing) and await self._pause(standing):
            if await self._is_forgiven(standing.run.id):
                await self._lift(standing)
            else:
                told.append(NoticeType.SCHEDULE_PAUSED)
        if not self.notifies or not standing.is_wanted:
            return ()
        return tuple(_notice(event, standing) for event in told)

    async def _pause(self, standing: Standing) -> bool:
        """Whether the schedule is paused because of this very run. A pause that was there already stays as it is."""
        if not await self.schedules.pause_failing(standing.run.saved_query_id, _reason(standing)):
            return False
        await self._note(standing, Verb.SYNC_PAUSED, FAILING_NOTE + _reason(standing))
        return True

    async def _is_forgiven(self, run_id: UUID) -> bool:
        """Whether a person edited the query or resumed the schedule while it was being paused: they found no pause."""
        async with self.database.begin() as tx:
            return not _is_one_too_many(await failures.standing(tx, run_id))

    async def _lift(self, standing: Standing) -> None:
        why = f"Resumed: its failures were made good (run {standing.run.id})."
        if await self.schedules.lift_failing(standing.run.saved_query_id, why):
            await self._note(standing, Verb.SYNC_RESUMED)

    async def _note(self, standing: Standing, verb: Verb, paused_note: str | None = None) -> None:
        async with self.database.begin() as tx:
            if paused_note is None:
                await pauses.forget(tx, [standing.run.saved_query_id])
            else:
                await pauses.keep(tx, standing.run.saved_query_id, paused_note)
            await journal.append(
                tx,
                project_id=standing.project_id,
                item_id=standing.run.saved_query_id,
                name=standing.view_name,
                verb=verb,
                user_id=None,
                entry_id=uuid5(standing.run.id, verb),
            )


def _is_one_too_many(standing: Standing) -> bool:
    """Only the schedule's own failures count against it: whoever runs a view by hand sees how it ends."""
    return standing.run.trigger is Trigger.SCHEDULE and standing.failures >= FAILURES_TO_PAUSE


def _transition(standing: Standing) -> list[NoticeType]:
    """What is new: a view that fails for the second time is no news, nor is one that works again and again."""
    failed_before = standing.previous is RunStatus.FAILED
    if standing.run.status is RunStatus.FAILED and not failed_before:
        return [NoticeType.RUN_FAILED]
    if standing.run.status is RunStatus.COMPLETED and failed_before:
        return [NoticeType.RUN_RECOVERED]
    return []


def _reason(standing: Standing) -> str:
    """Why the schedule is paused and what to do: all that an operator sees of it. It names the run, so is its own."""
    return (
        f"{standing.failures} scheduled runs failed in a row. Editing the query, a run that succeeds or resuming the "
        f"schedule lifts this. Run {standing.run.id} ended with: {_shortened(standing.run.error or 'no error')}"
    )


def _shortened(error: str) -> str:
    line = one_line(" ".join(error.split()))
    return line if len(line) <= _LONGEST_ERROR else f"{line[:_LONGEST_ERROR]}…"


def _notice(event: NoticeType, standing: Standing) -> Notice:
    run = standing.run
    return Notice(
        type=event,
        timestamp=run.timestamp,
        data=NoticeData(
            project_id=standing.project_id,
            view_id=run.saved_query_id,
            view_name=standing.view_name,
            run_id=run.id,
            status=run.status,
            trigger=run.trigger,
            workflow_id=run.workflow_id,
            error=None if run.error is None else lines(run.error),
            error_code=run.error_code,
            consecutive_failures=standing.failures if event is NoticeType.SCHEDULE_PAUSED else None,
        ),
    )
