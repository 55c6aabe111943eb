"""The workflow that a schedule starts. It starts the run under the view's workflow id and returns its outcome.

A schedule cannot start the run itself, because the server appends the time of the tick to the workflow id. A scheduled
run and one from the API would then have different ids and could overlap.
"""

import asyncio

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import CancelledError, ChildWorkflowError, TerminatedError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from orchestrator.model.run import RunOutcome, RunRequest, RunStatus, Trigger
    from orchestrator.temporal import contract

_PROJECT, _VIEW, _STATUS, _TRIGGER = map(SearchAttributeKey.for_keyword, contract.SEARCH_ATTRIBUTES)
_SCHEDULED_FOR = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")


@workflow.defn(name=contract.SCHEDULED_TICK, failure_exception_types=[Exception])
class ScheduledTick:
    """One tick of a view's schedule. It has no retry policy of its own: the next tick is its retry."""

    @workflow.run
    async def run(self, request: RunRequest) -> RunOutcome:
        """Return the run's outcome; fail if it failed. If a run of the view is in progress, the tick is skipped."""
        attributes = workflow.info().typed_search_attributes
        scheduled_for = attributes.get(_SCHEDULED_FOR)
        try:
            outcome: RunOutcome = await workflow.execute_child_workflow(
                contract.REFRESH,
                request.model_copy(update={"trigger": Trigger.SCHEDULE, "scheduled_for": scheduled_for}),
                id=contract.run_workflow_id(request.saved_query_id),
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
