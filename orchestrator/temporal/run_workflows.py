"""Starts, describes and cancels the workflows of runs."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
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
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
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
from orchestrator.model.generation import Generation, GenerationRequest
from orchestrator.model.run import Progress, RunRef, RunRequest, RunStatus, run_id_of
from orchestrator.model.tick import Tick
from orchestrator.model.webhook_event import ClosedRun, WebhookEvent
from orchestrator.temporal import contract
from orchestrator.temporal.client import RPC_TIMEOUT, is_not_found, translate_rpc_errors
from orchestrator.temporal.search_attributes import (
    ViewRef,
    generation_attributes,
    is_unknown_attribute,
    priority,
    project_priority,
    run_attributes,
)

# The cancel of one member waits for the end of its query.
UPDATE_TIMEOUT = timedelta(seconds=8)


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


class _AnyOutcome(Value):
    """The result of a generation of one or of several views."""

    status: str

    @property
    def of_run(self) -> RunStatus:
        """The status of each run of it that the catalog still calls Running."""
        ended = set(RunStatus.__members__.values()) - {RunStatus.RUNNING}
        return RunStatus(self.status) if self.status in ended else RunStatus.COMPLETED


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
                contract.REFRESH,
                request,
                id=contract.run_workflow_id(request.saved_query_id),
                task_queue=contract.TASK_QUEUE,
                task_timeout=contract.GENERATION_TASK_TIMEOUT,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                search_attributes=attributes,
                static_summary=f"Run of {view}",
                static_details=details,
                priority=priority(view),
                rpc_timeout=RPC_TIMEOUT,
            )

    async def start_generation(self, generation: Generation, label: str, details: str) -> None:
        """Start the workflow of a generation of several views. It may be repeated."""
        request = GenerationRequest(
            generation_id=generation.id, project_id=generation.project_id, label=label, trigger=generation.trigger
        )
        attributes = generation_attributes(generation.project_id, generation.trigger)
        with suppress(WorkflowAlreadyStartedError):
            try:
                await self._start_generation(generation, request, details, attributes)
            except RPCError as error:
                if not is_unknown_attribute(error):
                    raise
                await self._start_generation(generation, request, details, None)

    async def _start_generation(
        self,
        generation: Generation,
        request: GenerationRequest,
        details: str,
        attributes: TypedSearchAttributes | None,
    ) -> None:
        with translate_rpc_errors():
            await self._client.start_workflow(
                contract.REFRESH,
                request,
                id=generation.workflow_id,
                task_queue=contract.TASK_QUEUE,
                task_timeout=contract.GENERATION_TASK_TIMEOUT,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                search_attributes=attributes,
                static_summary=request.label,
                static_details=details,
                priority=project_priority(generation.project_id),
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
                        id=contract.notice_workflow_id(event.data.run_id, event.name),
                        task_queue=contract.TASK_QUEUE,
                        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                        static_summary=f"{event.type}: {event.data.view_name}",
                        rpc_timeout=RPC_TIMEOUT,
                    )
            except WorkflowAlreadyStartedError:
                continue

    async def find_running(self, saved_query_id: UUID) -> UUID | None:
        """The workflow run id of the generation of this view alone that is in progress, or None."""
        description = await self._describe(contract.run_workflow_id(saved_query_id), None)
        if description is None or description.status is not WorkflowExecutionStatus.RUNNING:
            return None
        return UUID(description.run_id)

    async def is_open(self, workflow_id: str) -> bool:
        """Whether a workflow of this id is in progress."""
        description = await self._describe(workflow_id, None)
        return description is not None and description.status is WorkflowExecutionStatus.RUNNING

    async def list_running(self) -> dict[UUID, UUID]:
        """The workflow run id of each view's run in progress, without those of larger generations.

        The server's list may be a moment late.
        """
        query = f"WorkflowType = '{contract.REFRESH}' AND ExecutionStatus = 'Running'"
        with translate_rpc_errors():
            listed = [(contract.parse_view_id(e.id), e.run_id) async for e in self._client.list_workflows(query)]
        return {view: UUID(run_id) for view, run_id in listed if view is not None}

    async def query_progress(self, run: RunRef) -> QueryProgress:
        """The last progress of the run's query, and the error that ended its previous try, if it is retried."""
        description = await self._describe(*_execution(run))
        pending = description.raw_description.pending_activities if description is not None else ()
        for one in pending:
            if str(run.id) in one.activity_id.split():
                return QueryProgress(await self._progress(one, run.id), one.last_failure.message or None)
        return QueryProgress(None, None)

    async def _progress(self, pending: PendingActivityInfo, run_id: UUID) -> Progress | None:
        """The progress of a run in the last heartbeat of an activity, which may write several."""
        started = pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
        if not started or not pending.HasField("heartbeat_details"):
            return None
        payloads = pending.heartbeat_details.payloads
        decoded = await self._client.data_converter.decode(payloads, [Progress] * len(payloads))
        every = [Progress.model_validate(one) for one in decoded]
        return next((one for one in every if one.run_id == run_id), None)

    async def find_outcome(self, run: RunRef) -> WorkflowOutcome | None:
        """How a run's workflow ended, or None while it is open.

        Also for a run whose workflow could not record its end: terminated by an operator, timed out, or removed after
        the namespace's retention.
        """
        description = await self._describe(*_execution(run))
        if description is None:
            return WorkflowOutcome(
                status=RunStatus.FAILED,
                error="The run was lost: Temporal no longer knows its workflow.",
                error_code="run_lost",
            )
        if description.status is WorkflowExecutionStatus.RUNNING:
            return None
        return await self._await_outcome(self._handle(run))

    async def cancel(self, run: RunRef) -> None:
        """Request the cancellation of the run, and of no other one. Nothing happens if it has already ended.

        In a generation of several views, it returns when the run has been cancelled, or can be no more, or after a
        while. The request is not lost then: the workflow takes it as soon as it has a worker.
        """
        try:
            with translate_rpc_errors():
                if contract.is_of_several(run.workflow_id):
                    await self._cancel_member(run)
                else:
                    await self._handle(run).cancel(rpc_timeout=RPC_TIMEOUT)
        except WorkflowUpdateFailedError:
            return  # the workflow ended during it: the caller looks at the run
        except RPCError as error:
            if not is_not_found(error):
                raise

    async def _cancel_member(self, run: RunRef) -> None:
        handle = self._handle(run)
        try:
            await handle.execute_update(contract.CANCEL_MEMBER, run.id, result_type=bool, rpc_timeout=UPDATE_TIMEOUT)
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            await handle.signal(contract.STOP_MEMBER, run.id, rpc_timeout=RPC_TIMEOUT)

    async def cancel_single(self, saved_query_id: UUID, workflow_run_id: UUID) -> None:
        """Request the cancellation of a generation of this view alone."""
        await self.cancel(single_run(saved_query_id, workflow_run_id))

    async def cancel_generation(self, workflow_id: str) -> None:
        """Request the cancellation of a generation of several views. Nothing happens if it has already ended."""
        try:
            with translate_rpc_errors():
                await self._client.get_workflow_handle(workflow_id).cancel(rpc_timeout=RPC_TIMEOUT)
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

    async def report_to_tick(self, tick: Tick, ended: ClosedRun) -> None:
        """Report to a tick how its view has ended. Nothing happens if the tick has ended already."""
        try:
            with translate_rpc_errors():
                handle = self._client.get_workflow_handle(tick.workflow_id, run_id=str(tick.workflow_run_id))
                await handle.signal(contract.ENDED, ended, rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if not is_not_found(error):
                raise

    async def wait_until_closed(self, run: RunRef, at_most: timedelta) -> WorkflowOutcome | None:
        """Wait for the end of the run's workflow; returns how it ended, or None if it is still open after `at_most`."""
        try:
            async with asyncio.timeout(at_most.total_seconds()):
                return await self._await_outcome(self._handle(run))
        except TimeoutError:
            return None

    async def wait_for_generation(self, workflow_id: str, at_most: timedelta) -> bool:
        """Wait for the end of a generation of several views; whether it has ended."""
        handle: WorkflowHandle[object, object] = self._client.get_workflow_handle(workflow_id)
        try:
            async with asyncio.timeout(at_most.total_seconds()):
                with translate_rpc_errors():
                    await handle.result()
        except TimeoutError:
            return False
        except WorkflowFailureError:
            return True
        except RPCError as error:
            if not is_not_found(error):
                raise
        return True

    async def ping(self) -> None:
        """Raise TemporalUnavailable unless the server answers for the configured namespace."""
        with translate_rpc_errors():
            await self._client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=self._client.namespace), timeout=RPC_TIMEOUT
            )

    def _handle(self, run: RunRef) -> WorkflowHandle[object, "_AnyOutcome"]:
        workflow_id, run_id = _execution(run)
        return self._client.get_workflow_handle(workflow_id, run_id=run_id, result_type=_AnyOutcome)

    async def _describe(self, workflow_id: str, run_id: str | None) -> WorkflowExecutionDescription | None:
        handle = self._client.get_workflow_handle(workflow_id, run_id=run_id)
        try:
            with translate_rpc_errors():
                return await handle.describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if is_not_found(error):
                return None
            raise

    async def _await_outcome(self, handle: WorkflowHandle[object, "_AnyOutcome"]) -> WorkflowOutcome:
        try:
            with translate_rpc_errors():
                outcome = await handle.result()
        except WorkflowFailureError as failure:
            return _outcome_of_failure(failure.cause)
        return WorkflowOutcome(status=outcome.of_run)


def single_run(saved_query_id: UUID, workflow_run_id: UUID) -> RunRef:
    """The run of a generation of this view alone."""
    return RunRef(
        id=run_id_of(workflow_run_id, saved_query_id),
        workflow_id=contract.run_workflow_id(saved_query_id),
        workflow_run_id=workflow_run_id,
    )


def _execution(run: RunRef) -> tuple[str, str | None]:
    """The workflow id and run id of a run. A generation of several views goes on in further runs of the same id."""
    return run.workflow_id, None if contract.is_of_several(run.workflow_id) else str(run.workflow_run_id)


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
