"""Starts and cancels the workflows of tries."""

from contextlib import suppress

from temporalio.client import Client
from temporalio.common import TypedSearchAttributes, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from orchestrator.model.edit_try import EditTry, TryRequest
from orchestrator.model.run import Trigger
from orchestrator.temporal import contract
from orchestrator.temporal.client import RPC_TIMEOUT, is_not_found, translate_rpc_errors
from orchestrator.temporal.search_attributes import ViewRef, is_unknown_attribute, priority, run_attributes


class TryWorkflows:
    """The workflows of tries in one namespace."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def start(self, edit: EditTry, view: ViewRef, details: str) -> None:
        """Start the workflow of a try. It may be repeated. `details` is Markdown for people."""
        with suppress(WorkflowAlreadyStartedError):
            try:
                await self._start(edit, view, details, run_attributes(view, Trigger.API))
            except RPCError as error:
                if not is_unknown_attribute(error):
                    raise
                await self._start(edit, view, details, None)

    async def _start(
        self, edit: EditTry, view: ViewRef, details: str, attributes: TypedSearchAttributes | None
    ) -> None:
        label = f"Try of an edit of {view}"
        with translate_rpc_errors():
            await self._client.start_workflow(
                contract.TRY_EDIT,
                TryRequest(try_id=edit.id, project_id=edit.project_id, label=label),
                id=contract.try_workflow_id(edit.id),
                task_queue=contract.TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                search_attributes=attributes,
                static_summary=label,
                static_details=details,
                priority=priority(view),
                rpc_timeout=RPC_TIMEOUT,
            )

    async def cancel(self, edit: EditTry) -> None:
        """Request the cancellation of a try, or of that which it is a member of. Nothing happens if it has ended."""
        try:
            with translate_rpc_errors():
                handle = self._client.get_workflow_handle(contract.try_workflow_id(edit.root))
                await handle.cancel(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if not is_not_found(error):
                raise
