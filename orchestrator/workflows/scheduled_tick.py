"""The workflow that a schedule starts. It starts the run under the view's workflow id and returns its outcome.

A schedule cannot start the run itself, because the server appends the time of the tick to the workflow id. A scheduled
run and one from the API would then have different ids and could overlap.

Where several ticks of a project are due together, one generation refreshes their views, and each tick returns the
outcome of its own view there.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    TerminatedError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from orchestrator.model.run import RunOutcome, RunRequest, RunStatus, Trigger
    from orchestrator.model.tick import Gathered, Tick
    from orchestrator.model.webhook_event import ClosedRun
    from orchestrator.temporal import contract
    from orchestrator.workflows import steps
    from orchestrator.workflows.steps import uninterruptible

_PROJECT, _VIEW, _STATUS, _TRIGGER = map(SearchAttributeKey.for_keyword, contract.SEARCH_ATTRIBUTES)
# How long a tick waits for the report of its generation before it looks for itself: an operator may have ended that.
_FIRST_LOOK, _LONGEST_LOOK = timedelta(minutes=1), timedelta(hours=1)
_SCHEDULED_FOR = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")


@workflow.defn(name=contract.SCHEDULED_TICK, failure_exception_types=[Exception])
class ScheduledTick:
    """One tick of a view's schedule. It has no retry policy of its own: the next tick is its retry."""

    @workflow.init
    def __init__(self, request: RunRequest) -> None:
        """A tick that follows nothing yet."""
        info = workflow.info()
        self._ended: ClosedRun | None = None
        self._tick = Tick(
            saved_query_id=request.saved_query_id,
            workflow_id=info.workflow_id,
            workflow_run_id=UUID(info.run_id),
            scheduled_for=info.typed_search_attributes.get(_SCHEDULED_FOR),
        )

    @workflow.signal(name=contract.ENDED)
    def ended(self, run: ClosedRun) -> None:
        """Take the end of the view's run in the generation that this tick follows."""
        self._ended = run

    @workflow.run
    async def run(self, request: RunRequest) -> RunOutcome:
        """Return the run's outcome; fail if it failed. If a run of the view is in progress, the tick is skipped."""
        try:
            gathered = await self._gather()
            if gathered.generation_id is not None:
                self._tick = self._tick.model_copy(update={"generation_id": gathered.generation_id})
                return _mirrored(await self._follow())
        except (asyncio.CancelledError, FailureError) as error:
            if is_cancelled_exception(error):  # an error of a step, if it was in progress
                await uninterruptible(steps.leave(self._tick))
            raise
        if gathered.skipped is not None:
            return RunOutcome(status=RunStatus.SKIPPED, detail=gathered.skipped)
        return await self._run_alone(request)

    async def _gather(self) -> Gathered:
        gathered = await steps.gather(self._tick)
        if gathered.wait_seconds is None:
            return gathered
        await asyncio.sleep(gathered.wait_seconds)
        return await self._gather()

    async def _follow(self) -> ClosedRun:
        """Wait until the generation reports the end of the view's run. Now and then, look for it."""
        pause = _FIRST_LOOK
        while self._ended is None:
            with suppress(asyncio.TimeoutError):
                await workflow.wait_condition(lambda: self._ended is not None, timeout=pause)
            if self._ended is None:
                self._ended = await steps.tick_outcome(self._tick)
            pause = min(2 * pause, _LONGEST_LOOK)
        return self._ended

    async def _run_alone(self, request: RunRequest) -> RunOutcome:
        attributes = workflow.info().typed_search_attributes
        try:
            outcome: RunOutcome = await workflow.execute_child_workflow(
                contract.REFRESH,
                request.model_copy(update={"trigger": Trigger.SCHEDULE, "scheduled_for": self._tick.scheduled_for}),
                id=contract.run_workflow_id(request.saved_query_id),
                task_timeout=contract.GENERATION_TASK_TIMEOUT,
                search_attributes=_labels(attributes),
                static_summary=f"Run of {request.label}" if request.label else None,
                static_details=f"Started by its schedule, in the tick `{workflow.info().workflow_id}`.",
                # An operator or a client that cancels or terminates the tick means the run.
                parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
                result_type=RunOutcome,
            )
            return outcome  # noqa: TRY300 - the other returns are of errors
        except WorkflowAlreadyStartedError:
            return RunOutcome(status=RunStatus.SKIPPED, detail="A run of this view was in progress.")
        except ChildWorkflowError as error:
            # The run itself was cancelled or terminated, which is not a failure of the schedule.
            if isinstance(error.cause, CancelledError | TerminatedError) and not _is_cancelled():
                return RunOutcome(status=RunStatus.CANCELLED, detail=error.cause.message)
            raise


def _mirrored(run: ClosedRun) -> RunOutcome:
    """The outcome of a tick whose view was refreshed by a generation. Raises the failure of its run."""
    if run.status is RunStatus.FAILED:
        raise ApplicationError(run.error or "The run failed.", type=run.error_code, non_retryable=True)
    outcome = RunOutcome.model_validate(run.model_dump(include=set(RunOutcome.model_fields)))
    return outcome if run.error is None else outcome.model_copy(update={"detail": run.error})


def _labels(attributes: TypedSearchAttributes) -> TypedSearchAttributes | None:
    """The search attributes of the run: those of the tick, or None unless the tick has all of them."""
    name, project = attributes.get(_VIEW), attributes.get(_PROJECT)
    if name is None or project is None or attributes.get(_STATUS) is None or attributes.get(_TRIGGER) is None:
        return None
    return TypedSearchAttributes(
        [
            SearchAttributePair(_VIEW, name),
            SearchAttributePair(_PROJECT, project),
            SearchAttributePair(_TRIGGER, Trigger.SCHEDULE),
            SearchAttributePair(_STATUS, RunStatus.RUNNING),
        ]
    )


def _is_cancelled() -> bool:
    """Whether this tick itself was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
