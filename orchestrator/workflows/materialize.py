"""A run of a view: begin, write, and publish, skip or close."""

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypedDict, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey, WorkflowIDReusePolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)
from temporalio.workflow import ActivityCancellationType, ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from orchestrator.activities.materialize import MaterializeActivities
    from orchestrator.model.run import (
        CloseRequest,
        Progress,
        RunOutcome,
        RunPlan,
        RunRequest,
        RunStatus,
        SkipRequest,
        WriteResult,
    )
    from orchestrator.model.snapshot import Snapshot
    from orchestrator.model.webhook_event import CloseResult, PublishResult, WebhookEvent
    from orchestrator.temporal import contract
    from orchestrator.workflows.deliver_notice import DeliverNotice
    from orchestrator.workflows.run_page import render, running

T = TypeVar("T")


class _Options(TypedDict):
    schedule_to_close_timeout: timedelta
    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


# A few SQL statements each. They are retried for an hour: a catalog that is away for a while should delay a run, not
# lose its result.
CATALOG_STEP_OPTIONS = _Options(
    schedule_to_close_timeout=timedelta(hours=1),
    start_to_close_timeout=timedelta(seconds=20),
    retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=30)),
)
# For failures that are not the query's fault. The activity itself gives up after eight tries, with two minutes of
# pauses in all. Here, tries that found no memory count too: this many of them last for days.
QUERY_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1), maximum_attempts=10_000
)
# The death of a worker is noticed after this; a living one sends a heartbeat twice a second.
HEARTBEAT_TIMEOUT = timedelta(seconds=5)
# The engine ends a query at its time limit and says so; Temporal's later timeout is for an engine that does not. The
# margin includes ten minutes for which a query may wait until the worker has memory for it.
START_TO_CLOSE_MARGIN = timedelta(minutes=15)

_STATUS = SearchAttributeKey.for_keyword(contract.STATUS_ATTRIBUTE)


# Without failure_exception_types Temporal would retry the workflow task after an unexpected exception, endlessly, and
# the run would stay Running.
@workflow.defn(name=contract.MATERIALIZE, failure_exception_types=[Exception])
class MaterializeSavedQuery:
    """One run. All runs of a view have the same workflow id, so the server itself keeps two from overlapping."""

    @workflow.init
    def __init__(self, request: RunRequest) -> None:
        """A run that has no plan yet."""
        self._request = request
        self._plan: RunPlan | None = None
        self._writing = False

    @workflow.update(name=contract.PROGRESS)
    def progress(self, progress: Progress) -> None:
        """Show the query's progress on the run's page in the Temporal UI.

        An update and not a signal: the server passes ten updates at a time to a run, and two thousand in all. It
        collects signals by the thousand, and handling ten thousand in one workflow task took longer than a task may, so
        the run could not continue. A run handles no signals now: one from an operator or from an older release's
        activity has no effect.
        """
        if self._writing:
            self._set_page(running(progress))

    @workflow.run
    async def run(self, request: RunRequest) -> RunOutcome:
        """Run to the end. A cancel that comes once publication has begun changes nothing."""
        try:
            self._set_page("Pins its inputs")
            self._plan = await _begin(request)
            written = await self._write(self._plan)
            if written.skip is not None:
                return await self._skip(written.skip)
            snapshot = _written(written)
            self._set_page("Publishes its result")
            published = await uninterruptible(_publish(snapshot))
        except (Exception, asyncio.CancelledError) as error:
            return await self._end(error)
        # In the history of a run by an older release, `publish` returned nothing.
        await uninterruptible(_start_deliveries(published.notices if published else ()))
        self._set_final_page(RunStatus.COMPLETED, f"{snapshot.rows:,} rows, snapshot {snapshot.id}")
        return RunOutcome(status=RunStatus.COMPLETED, rows=snapshot.rows, bytes=snapshot.bytes, snapshot_id=snapshot.id)

    async def _skip(self, request: SkipRequest) -> RunOutcome:
        await uninterruptible(_record_skip(request))
        self._set_final_page(RunStatus.SKIPPED, request.reason)
        return RunOutcome(status=RunStatus.SKIPPED, snapshot_id=request.snapshot_id, detail=request.reason)

    async def _write(self, plan: RunPlan) -> WriteResult:
        self._writing = True
        self._set_page(running(None))
        try:
            return await _write(plan)
        finally:
            self._writing = False

    async def _end(self, error: BaseException) -> RunOutcome:
        """Close a run that did not publish, then return its outcome or raise its failure."""
        closing = _close_request(self._request, error)
        closed = await uninterruptible(_close(closing))
        await uninterruptible(_start_deliveries(closed.notices))
        self._set_final_page(closed.status, closing.error)
        if closed.status in {RunStatus.COMPLETED, RunStatus.SKIPPED}:
            return closed
        if closing.status is RunStatus.CANCELLED:
            raise asyncio.CancelledError from error
        failure = ApplicationError(closing.error or "The run failed.", type=closing.error_code, non_retryable=True)
        raise failure from error

    def _set_final_page(self, status: RunStatus, message: str | None) -> None:
        self._set_page(status, message)
        # Only if the run was started with it: in a namespace without the attribute, the run could not continue.
        if workflow.info().typed_search_attributes.get(_STATUS) is not None:
            workflow.upsert_search_attributes([_STATUS.value_set(status)])

    def _set_page(self, headline: str, message: str | None = None) -> None:
        text = render(self._request, self._plan, headline, message=message, namespace=workflow.info().namespace)
        workflow.set_current_details(text)


async def _begin(request: RunRequest) -> RunPlan:
    return await workflow.execute_local_activity_method(
        MaterializeActivities.begin_run, request, summary="Record the run, pin its inputs", **CATALOG_STEP_OPTIONS
    )


async def _write(plan: RunPlan) -> WriteResult:
    return await workflow.execute_activity_method(
        MaterializeActivities.write_snapshot,
        plan,
        start_to_close_timeout=timedelta(seconds=plan.timeout_seconds) + START_TO_CLOSE_MARGIN,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=QUERY_RETRIES,
        # A cancelled run ends when its query has ended, not when the cancel was requested.
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=f"Query of {plan.name}",
    )


def _written(result: WriteResult) -> Snapshot:
    if result.snapshot is None:
        raise ApplicationError("The query wrote no result.", type=contract.UNEXPECTED_ERROR, non_retryable=True)
    return result.snapshot


async def _record_skip(request: SkipRequest) -> None:
    await workflow.execute_local_activity_method(
        MaterializeActivities.skip_run, request, summary="Record that nothing has changed", **CATALOG_STEP_OPTIONS
    )


async def _publish(snapshot: Snapshot) -> PublishResult | None:
    return await workflow.execute_local_activity_method(
        MaterializeActivities.publish, snapshot, summary="Make the result visible", **CATALOG_STEP_OPTIONS
    )


async def _close(closing: CloseRequest) -> CloseResult:
    return await workflow.execute_local_activity_method(
        MaterializeActivities.close_run, closing, summary="Record how the run ended", **CATALOG_STEP_OPTIONS
    )


async def _start_deliveries(notices: Iterable[WebhookEvent]) -> None:
    """Start the delivery of each webhook event as a workflow of its own: the run does not wait for a webhook."""
    for event in notices:
        with suppress(WorkflowAlreadyStartedError):
            await workflow.start_child_workflow(
                DeliverNotice.run,
                event,
                id=contract.notice_workflow_id(event.data.run_id, event.type),
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                parent_close_policy=ParentClosePolicy.ABANDON,
                static_summary=f"{event.type}: {event.data.view_name}",
            )


async def uninterruptible(step: Coroutine[Any, Any, T]) -> T:
    """Await a step to its end even if the run is cancelled in between. Temporal cancels a workflow at most once."""
    task = asyncio.create_task(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        return await task


def _close_request(request: RunRequest, error: BaseException) -> CloseRequest:
    """The record of a run that ended with `error`."""
    # If a worker dies during a cancel, the error is a timeout; the run is cancelled all the same.
    task = asyncio.current_task()
    if is_cancelled_exception(error) or (task is not None and task.cancelling()):
        return CloseRequest(request=request, status=RunStatus.CANCELLED)
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ApplicationError):
        return CloseRequest(request=request, status=RunStatus.FAILED, error=cause.message, error_code=cause.type)
    return CloseRequest(
        request=request, status=RunStatus.FAILED, error=_lost_message(cause), error_code=contract.UNEXPECTED_ERROR
    )


def _lost_message(cause: BaseException | None) -> str:
    return f"The run was given up: {cause or 'no worker answered'}."
