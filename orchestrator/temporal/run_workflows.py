"""Starts, describes and cancels the workflows of runs."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.common import TypedSearchAttributes, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    TerminatedError,
    TimeoutError as TemporalTimeoutError,
    WorkflowAlreadyStartedError,
)
from temporalio.service import RPCError

from orchestrator.model.base import Value
from orchestrator.model.run import Progress, RunOutcome, RunRequest, RunStatus
from orchestrator.model.webhook_event import WebhookEvent
from orchestrator.temporal import contract
from orchestrator.temporal.client import RPC_TIMEOUT, is_not_found, translate_rpc_errors
from orchestrator.temporal.search_attributes import ViewRef, is_unknown_attribute, priority, run_attributes


class StartResult(Value):
    """The run that a start led to. `already_running` says that it was in progress before."""

    workflow_id: str
    workflow_run_id: UUID
    already_running: bool


class QueryProgress(NamedTuple):
    """The last progress of a run's query. `trouble` is the error that ended its previous try, if it is retried."""

    progress: Progress | None
    trouble: str | None


class WorkflowOutcome(Value):
    """How a run's workflow ended, as the server reports it."""

    status: RunStatus
    error: str | None = None
    error_code: str | None = None


class RunWorkflows:
    """The workflows of runs in one namespace."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def start(self, request: RunRequest, view: ViewRef, details: str) -> StartResult:
        """Start a run of the view, or find the one that is in progress: the server decides which, atomically.

        `details` is Markdown for people: the purpose of the run and who requested it.
        """
        workflow_id = contract.run_workflow_id(request.saved_query_id)
        try:
            try:
                handle = await self._start(request, view, details, run_attributes(view, request.trigger))
            except RPCError as error:
                if not is_unknown_attribute(error):
                    raise
                handle = await self._start(request, view, details, None)
        except WorkflowAlreadyStartedError as error:
            return StartResult(workflow_id=workflow_id, workflow_run_id=UUID(error.run_id), already_running=True)
        return StartResult(
            workflow_id=workflow_id, workflow_run_id=UUID(handle.first_execution_run_id), already_running=False
        )

    async def _start(
        self, request: RunRequest, view: ViewRef, details: str, attributes: TypedSearchAttributes | None
    ) -> WorkflowHandle[Any, Any]:
        with translate_rpc_errors():
            return await self._client.start_workflow(
                contract.MATERIALIZE,
                request,
                id=contract.run_workflow_id(request.saved_query_id),
                task_queue=contract.TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                search_attributes=attributes,
                static_summary=f"Run of {view}",
                static_details=details,
                priority=priority(view),
                rpc_timeout=RPC_TIMEOUT,
            )

    async def start_webhook_deliveries(self, events: Iterable[WebhookEvent]) -> None:
        """Start the delivery of webhook events that a run's own workflow could not start. Safe to repeat."""
        for event in events:
            try:
                with translate_rpc_errors():
                    await self._client.start_workflow(
                        contract.DELIVER_NOTICE_WORKFLOW,
                        event,
                        id=contract.notice_workflow_id(event.data.run_id, event.type),
                        task_queue=contract.TASK_QUEUE,
                        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                        static_summary=f"{event.type}: {event.data.view_name}",
                        rpc_timeout=RPC_TIMEOUT,
                    )
            except WorkflowAlreadyStartedError:
                continue

    async def find_running(self, saved_query_id: UUID) -> UUID | None:
        """The workflow run id of the view's run in progress, or None."""
        description = await self._describe(saved_query_id, None)
        if description is None or description.status is not WorkflowExecutionStatus.RUNNING:
            return None
        return UUID(description.run_id)

    async def list_running(self) -> dict[UUID, UUID]:
        """The workflow run id of each view's run in progress. The server's list may be a moment late."""
        query = f"WorkflowType = '{contract.MATERIALIZE}' AND ExecutionStatus = 'Running'"
        with translate_rpc_errors():
            listed = [(contract.parse_view_id(e.id), e.run_id) async for e in self._client.list_workflows(query)]
        return {view: UUID(run_id) for view, run_id in listed if view is not None}

    async def query_progress(self, saved_query_id: UUID, workflow_run_id: UUID) -> QueryProgress:
        """The last progress of the run's query, and the error that ended its previous try, if it is retried."""
        description = await self._describe(saved_query_id, workflow_run_id)
        pending = description.raw_description.pending_activities if description is not None else ()
        for one in pending:
            return QueryProgress(await self._progress(one), one.last_failure.message or None)
        return QueryProgress(None, None)

    async def _progress(self, pending: PendingActivityInfo) -> Progress | None:
        started = pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
        if not started or not pending.HasField("heartbeat_details"):
            return None
        decoded = await self._client.data_converter.decode(pending.heartbeat_details.payloads, [Progress])
        return Progress.model_validate(decoded[0]) if decoded else None

    async def find_outcome(self, saved_query_id: UUID, workflow_run_id: UUID) -> WorkflowOutcome | None:
        """How a run ended, or None while it is open.

        Also for a run whose workflow could not record its end: terminated by an operator, timed out, or removed after
        the namespace's retention.
        """
        description = await self._describe(saved_query_id, workflow_run_id)
        if description is None:
            return WorkflowOutcome(
                status=RunStatus.FAILED,
                error="The run was lost: Temporal no longer knows its workflow.",
                error_code="run_lost",
            )
        if description.status is WorkflowExecutionStatus.RUNNING:
            return None
        return await self._await_outcome(self._handle(saved_query_id, workflow_run_id))

    async def cancel(self, saved_query_id: UUID, workflow_run_id: UUID) -> None:
        """Request the cancellation of the run. Nothing happens if it has already ended."""
        try:
            with translate_rpc_errors():
                await self._handle(saved_query_id, workflow_run_id).cancel(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if not is_not_found(error):
                raise

    async def cancel_ticks(self, ticks: Iterable[tuple[str, str]]) -> None:
        """Request the cancellation of ticks, given by workflow id and run id, and so of the runs that they started."""
        for workflow_id, run_id in ticks:
            try:
                with translate_rpc_errors():
                    await self._client.get_workflow_handle(workflow_id, run_id=run_id).cancel(rpc_timeout=RPC_TIMEOUT)
            except RPCError as error:
                if not is_not_found(error):
                    raise

    async def wait_until_closed(
        self, saved_query_id: UUID, workflow_run_id: UUID, at_most: timedelta
    ) -> WorkflowOutcome | None:
        """Wait for the run's end and return how it ended; None if it is still open after `at_most`."""
        try:
            async with asyncio.timeout(at_most.total_seconds()):
                return await self._await_outcome(self._handle(saved_query_id, workflow_run_id))
        except TimeoutError:
            return None

    async def ping(self) -> None:
        """Raise TemporalUnavailable unless the server answers for the configured namespace."""
        with translate_rpc_errors():
            await self._client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=self._client.namespace), timeout=RPC_TIMEOUT
            )

    def _handle(self, saved_query_id: UUID, workflow_run_id: UUID) -> WorkflowHandle[object, RunOutcome]:
        return self._client.get_workflow_handle(
            contract.run_workflow_id(saved_query_id), run_id=str(workflow_run_id), result_type=RunOutcome
        )

    async def _describe(
        self, saved_query_id: UUID, workflow_run_id: UUID | None
    ) -> WorkflowExecutionDescription | None:
        run_id = None if workflow_run_id is None else str(workflow_run_id)
        handle = self._client.get_workflow_handle(contract.run_workflow_id(saved_query_id), run_id=run_id)
        try:
            with translate_rpc_errors():
                return await handle.describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if is_not_found(error):
                return None
            raise

    async def _await_outcome(self, handle: WorkflowHandle[object, RunOutcome]) -> WorkflowOutcome:
        try:
            with translate_rpc_errors():
                outcome = await handle.result(follow_runs=False)
        except WorkflowFailureError as failure:
            return _outcome_of_failure(failure.cause)
        return WorkflowOutcome(status=outcome.status)


def _outcome_of_failure(cause: BaseException) -> WorkflowOutcome:
    if isinstance(cause, TerminatedError):
        return WorkflowOutcome(
            status=RunStatus.CANCELLED,
            error=f"Terminated by an operator in Temporal: {cause.message}",
            error_code="terminated",
        )
    if isinstance(cause, ApplicationError):
        return WorkflowOutcome(status=RunStatus.FAILED, error=cause.message, error_code=cause.type)
    if isinstance(cause, TemporalTimeoutError):
        return WorkflowOutcome(status=RunStatus.FAILED, error="The run's workflow timed out.", error_code="timed_out")
    if isinstance(cause, CancelledError):
        return WorkflowOutcome(status=RunStatus.CANCELLED)
    return WorkflowOutcome(status=RunStatus.FAILED, error=str(cause), error_code="workflow_failed")
