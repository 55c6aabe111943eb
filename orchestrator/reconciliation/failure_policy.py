"""The failure policy: pauses a view's schedule after a failure streak, and makes the webhook events of a run's end.

Temporal knows whether a schedule is paused, and failures are counted from the view's runs. So only a copy of the pause
is stored, for a Temporal server that loses it. A step that is repeated after a lost answer finds its own work done and
returns the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from orchestrator.catalog import audit_log, checks, failure_streaks, saved_pauses
from orchestrator.catalog.database import Database
from orchestrator.catalog.failure_streaks import RunContext
from orchestrator.model.audit import Verb
from orchestrator.model.check import CheckResult, CheckStatus
from orchestrator.model.printable import lines, one_line
from orchestrator.model.run import RunStatus, Trigger
from orchestrator.model.webhook_event import NotifiedCheck, WebhookEvent, WebhookEventData, WebhookEventType
from orchestrator.temporal.schedule_state import FAILURE_PAUSE_NOTE
from orchestrator.temporal.schedules import Schedules

# So many failed scheduled runs in a row are no coincidence.
FAILURES_TO_PAUSE = 5

_LONGEST_ERROR = 300


@dataclass(frozen=True)
class FailurePolicy:
    """Pauses the schedules of views that fail repeatedly. `notifies` says whether there is a webhook."""

    database: Database
    schedules: Schedules
    notifies: bool

    async def on_run_finished(self, context: RunContext) -> tuple[WebhookEvent, ...]:
        """Pause or unpause the schedule of a run that has ended; returns the events for the webhook.

        Call this after the transaction that ended the run. Raises TemporalUnavailable.
        """
        events = _events_for(context)
        if context.run.status is RunStatus.COMPLETED and context.failures_since_success >= FAILURES_TO_PAUSE:
            await self._unpause(context)
        if context.run.status is RunStatus.FAILED and _exceeds_threshold(context) and await self._pause(context):
            if await self._streak_was_reset(context.run.id):
                await self._unpause(context)
            else:
                events.append(WebhookEventType.SCHEDULE_PAUSED)
        if not self.notifies or not context.is_materialized:
            return ()
        return tuple(_event(event, context) for event in events)

    async def on_checks_made(self, contexts: Sequence[RunContext]) -> tuple[WebhookEvent, ...]:
        """The events for the webhook of checks that fail for the first time, or pass again, in runs that have ended."""
        made = {one.run.id: one for one in contexts if one.run.snapshot_id is not None and one.is_materialized}
        if not self.notifies or not made:
            return ()
        async with self.database.single() as tx:
            found = await checks.transitions(tx, list(made))
        return tuple(_check_event(one.result, made[one.run_id]) for one in found)

    async def _pause(self, context: RunContext) -> bool:
        """Pause the schedule; whether it is now paused because of this very run. An existing pause stays as it is."""
        if not await self.schedules.pause_for_failures(context.run.saved_query_id, _reason(context)):
            return False
        await self._record(context, Verb.SYNC_PAUSED, FAILURE_PAUSE_NOTE + _reason(context))
        return True

    async def _streak_was_reset(self, run_id: UUID) -> bool:
        """Whether a client edited the query or resumed the schedule just before the pause, and so could not lift it."""
        async with self.database.begin() as tx:
            return not _exceeds_threshold(await failure_streaks.load_run_context(tx, run_id))

    async def _unpause(self, context: RunContext) -> None:
        why = f"Resumed: its failures were made good (run {context.run.id})."
        if await self.schedules.unpause_after_failures(context.run.saved_query_id, why):
            await self._record(context, Verb.SYNC_RESUMED)

    async def _record(self, context: RunContext, verb: Verb, paused_note: str | None = None) -> None:
        async with self.database.begin() as tx:
            if paused_note is None:
                await saved_pauses.forget(tx, [context.run.saved_query_id])
            else:
                await saved_pauses.keep(tx, context.run.saved_query_id, paused_note)
            await audit_log.insert_entry(
                tx,
                project_id=context.project_id,
                item_id=context.run.saved_query_id,
                name=context.view_name,
                verb=verb,
                user_id=None,
                entry_id=uuid5(context.run.id, verb),
            )


def _exceeds_threshold(context: RunContext) -> bool:
    """Whether the failure streak is long enough. Manual runs do not count: the client that starts one sees its end."""
    return context.run.trigger is Trigger.SCHEDULE and context.failures_since_reset >= FAILURES_TO_PAUSE


def _events_for(context: RunContext) -> list[WebhookEventType]:
    """The events of a run's end: a failure after a failure is not an event, nor is a success after a success."""
    failed_before = context.previous_status is RunStatus.FAILED
    if context.run.status is RunStatus.FAILED and not failed_before:
        return [WebhookEventType.RUN_FAILED]
    if context.run.status is RunStatus.COMPLETED and failed_before:
        return [WebhookEventType.RUN_RECOVERED]
    return []


def _reason(context: RunContext) -> str:
    """The reason of a pause, and what lifts it: an operator sees only this. It names the run, so no two are equal."""
    failures = context.failures_since_reset
    return (
        f"{failures} scheduled runs failed in a row. Editing the query, a run that succeeds or resuming the "
        f"schedule lifts this. Run {context.run.id} ended with: {_truncate(context.run.error or 'no error')}"
    )


def _truncate(error: str) -> str:
    line = one_line(" ".join(error.split()))
    return line if len(line) <= _LONGEST_ERROR else f"{line[:_LONGEST_ERROR]}…"


def _check_event(result: CheckResult, context: RunContext) -> WebhookEvent:
    has_failed = result.status is not CheckStatus.PASSED
    event = _event(WebhookEventType.CHECK_FAILED if has_failed else WebhookEventType.CHECK_RECOVERED, context)
    check = NotifiedCheck(
        id=result.check_id,
        label=lines(result.label),
        severity=result.severity,
        status=result.status,
        failing_rows=result.failing_rows,
    )
    return event.model_copy(update={"data": event.data.model_copy(update={"check": check})})


def _event(event: WebhookEventType, context: RunContext) -> WebhookEvent:
    run = context.run
    return WebhookEvent(
        type=event,
        timestamp=run.timestamp,
        data=WebhookEventData(
            project_id=context.project_id,
            view_id=run.saved_query_id,
            view_name=context.view_name,
            run_id=run.id,
            status=run.status,
            trigger=run.trigger,
            workflow_id=run.workflow_id,
            error=None if run.error is None else lines(run.error),
            error_code=run.error_code,
            consecutive_failures=context.failures_since_reset if event is WebhookEventType.SCHEDULE_PAUSED else None,
        ),
    )
