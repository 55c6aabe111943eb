"""How the error with which a workflow ends is recorded."""

import asyncio
from uuid import UUID

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from orchestrator.model.generation import EndedRun
    from orchestrator.model.run import RunStatus
    from orchestrator.temporal import contract


def is_cancelled(error: BaseException | None) -> bool:
    """Whether the workflow is being cancelled, or has the error for that reason."""
    # If a worker dies during a cancel, the error is a timeout; the run is cancelled all the same.
    task = asyncio.current_task()
    return (error is not None and is_cancelled_exception(error)) or (task is not None and task.cancelling() > 0)


def ended(run_id: UUID, error: BaseException) -> EndedRun:
    """How a run is to be closed that ended with `error`."""
    if is_cancelled(error):
        return EndedRun(run_id=run_id, status=RunStatus.CANCELLED)
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ApplicationError):
        return EndedRun(run_id=run_id, status=RunStatus.FAILED, error=cause.message, error_code=cause.type)
    lost = f"The run was given up: {cause or 'no worker answered'}."
    return EndedRun(run_id=run_id, status=RunStatus.FAILED, error=lost, error_code=contract.UNEXPECTED_ERROR)
