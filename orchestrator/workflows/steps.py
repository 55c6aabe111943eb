"""The steps of a generation as its workflow calls them: their time limits, retries and labels."""

import asyncio
import textwrap
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypedDict, TypeVar
from uuid import UUID

from temporalio import workflow
from temporalio.common import RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ActivityCancellationType, ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from orchestrator.activities.begin import BeginActivities
    from orchestrator.activities.check_tables import TableCheckActivities
    from orchestrator.activities.copy_tables import TableCopyActivities
    from orchestrator.activities.finish import FinishActivities
    from orchestrator.activities.ticks import TickActivities
    from orchestrator.activities.tries import TryActivities
    from orchestrator.activities.write import WriteActivities
    from orchestrator.activities.write_several import WriteSeveralActivities
    from orchestrator.model.edit_try import TryBegun, TryEnd, TryRequest
    from orchestrator.model.generation import (
        Begun,
        CloseRequest,
        CopyOutcome,
        CopyTask,
        GenerationRequest,
        MemberEnd,
        MemberPlan,
        MemberResult,
        MembersTask,
        MemberTask,
        PublishRequest,
        RefreshOutcome,
        RefreshRequest,
        RepinRequest,
        TableCheckTask,
    )
    from orchestrator.model.tick import Gathered, Tick
    from orchestrator.model.webhook_event import ClosedRun, ClosedRuns, WebhookEvent
    from orchestrator.temporal import contract
    from orchestrator.workflows.deliver_notice import DeliverNotice

T = TypeVar("T")


class _Options(TypedDict):
    schedule_to_close_timeout: timedelta
    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


# A few SQL statements each, for thousands of views at most. They are retried for an hour: a catalog that is away for a
# while should delay a generation, not lose its results.
CATALOG_STEP_OPTIONS = _Options(
    schedule_to_close_timeout=timedelta(hours=1),
    start_to_close_timeout=timedelta(minutes=2),
    retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=30)),
)
# For failures that are not the query's fault. The activity itself gives up after eight tries, with two minutes of
# pauses in all. Here, tries that found no memory count too: this many of them last for days.
QUERY_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1), maximum_attempts=10_000
)
# The server takes a summary of 400 bytes.
_LONGEST_NAME = 20
_MOST_NAMES = 8
# Nothing is lost by trying again, and no member waits for long.
_SHARED_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30), maximum_attempts=8
)
# The death of a worker is noticed after this; a living one sends a heartbeat twice a second.
HEARTBEAT_TIMEOUT = timedelta(seconds=5)
# The engine ends a query at its time limit and says so; Temporal's later timeout is for an engine that does not. The
# margin includes ten minutes for which a query may wait until the worker has memory for it.
START_TO_CLOSE_MARGIN = timedelta(minutes=15)


async def begin(request: RefreshRequest) -> Begun:
    """Take hold of the views, and pin what they read."""
    return await workflow.execute_local_activity_method(
        BeginActivities.begin, request, summary="Take hold of the views, pin their inputs", **CATALOG_STEP_OPTIONS
    )


async def write(begun: Begun, member: MemberPlan) -> MemberResult:
    """Run the query of a member. It may run on any worker."""
    return await workflow.execute_activity_method(
        WriteActivities.write_snapshot,
        _task(begun, member),
        activity_id=str(member.run_id),
        start_to_close_timeout=timedelta(seconds=member.timeout_seconds) + START_TO_CLOSE_MARGIN,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=QUERY_RETRIES,
        # A cancelled run ends when its query has ended, not when the cancel was requested.
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=f"Query of {member.name}",
    )


async def write_several(
    begun: Begun, some: Sequence[tuple[MemberPlan, Sequence[UUID]]], number: int
) -> tuple[MemberEnd, ...]:
    """Run the queries of some members, each after those of the runs given with it, on one worker.

    Those that go on for a while are reported by updates before. The same members may be written again while an earlier
    activity of theirs writes the others that it had, so a `number` is part of the activity's id; 0 stands for none.
    """
    members = [member for member, _ in some]
    tasks = (_task(begun, member).model_copy(update={"after": tuple(after)}) for member, after in some)
    longest = max(member.timeout_seconds for member in members)
    names = ", ".join(textwrap.shorten(member.name, _LONGEST_NAME, placeholder="…") for member in members[:_MOST_NAMES])
    if len(members) > _MOST_NAMES:
        names += f" and {len(members) - _MOST_NAMES} more"
    return await workflow.execute_activity_method(
        WriteSeveralActivities.write_snapshots,
        MembersTask(members=tuple(tasks), number=number),
        activity_id=" ".join([*(str(member.run_id) for member in members), *([str(number)] if number else [])]),
        start_to_close_timeout=timedelta(seconds=longest) + START_TO_CLOSE_MARGIN,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=QUERY_RETRIES,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=f"Queries of {names}",
    )


def _task(begun: Begun, member: MemberPlan) -> MemberTask:
    return MemberTask(
        generation_id=begun.generation_id,
        project_id=begun.project_id,
        saved_query_id=member.saved_query_id,
        run_id=member.run_id,
    )


async def check_table(task: TableCheckTask, timeout_seconds: float) -> None:
    """Make the checks of a source table. It may run on any worker."""
    await workflow.execute_activity_method(
        TableCheckActivities.check_table,
        task,
        start_to_close_timeout=timedelta(seconds=timeout_seconds) + START_TO_CLOSE_MARGIN,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=_SHARED_RETRIES,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary="Checks of a source table",
    )


async def copy_tables(task: CopyTask) -> CopyOutcome:
    """Copy tables of a database. It may run on any worker."""
    return await workflow.execute_activity_method(
        TableCopyActivities.copy_tables,
        task,
        start_to_close_timeout=timedelta(seconds=task.timeout_seconds) + START_TO_CLOSE_MARGIN,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=_SHARED_RETRIES,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=f"Copy tables of {task.database}",
    )


async def begin_try(request: TryRequest) -> TryBegun:
    """Record that a try runs; returns its members."""
    return await workflow.execute_local_activity_method(
        TryActivities.begin_try, request, summary="Look up the limits", **CATALOG_STEP_OPTIONS
    )


async def write_try(request: TryRequest, member: MemberPlan) -> TryEnd:
    """Run the query of a member of a try, as that of a generation's. It may run on any worker."""
    return await workflow.execute_activity_method(
        TryActivities.write_try,
        request,
        activity_id=str(member.run_id),
        start_to_close_timeout=timedelta(seconds=member.timeout_seconds) + START_TO_CLOSE_MARGIN,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=QUERY_RETRIES,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=f"Tried query of {member.name}",
    )


async def repin_try(request: RepinRequest) -> tuple[UUID, ...]:
    """Pin a source table of a try again; returns the members that are to run again."""
    return await workflow.execute_local_activity_method(
        TryActivities.repin_try, request, summary="A source file has changed", **CATALOG_STEP_OPTIONS
    )


async def close_try(end: TryEnd) -> TryEnd:
    """End members of a try without results."""
    return await workflow.execute_local_activity_method(
        TryActivities.close_try, end, summary="Record how members ended", **CATALOG_STEP_OPTIONS
    )


async def repin(request: RepinRequest) -> tuple[UUID, ...]:
    """Pin a source table again; returns the runs that are to run again."""
    return await workflow.execute_local_activity_method(
        BeginActivities.repin, request, summary="A source file has changed", **CATALOG_STEP_OPTIONS
    )


async def publish(request: PublishRequest) -> ClosedRuns:
    """Make results visible together."""
    return await workflow.execute_local_activity_method(
        FinishActivities.publish, request, summary="Make the results visible", **CATALOG_STEP_OPTIONS
    )


async def close(request: CloseRequest) -> ClosedRuns:
    """End runs without results."""
    return await workflow.execute_local_activity_method(
        FinishActivities.close, request, summary="Record how runs ended", **CATALOG_STEP_OPTIONS
    )


async def summarize(request: GenerationRequest) -> RefreshOutcome:
    """How a generation of several views has ended."""
    return await workflow.execute_local_activity_method(
        FinishActivities.summarize, request, summary="Sum up", **CATALOG_STEP_OPTIONS
    )


async def gather(tick: Tick) -> Gathered:
    """Join the ticks that are due together; returns what this one is to do."""
    return await workflow.execute_local_activity_method(
        TickActivities.gather, tick, summary="Join the ticks that are due", **CATALOG_STEP_OPTIONS
    )


async def tick_outcome(tick: Tick) -> ClosedRun | None:
    """How the view of a tick has ended in a generation; None if it has not."""
    return await workflow.execute_local_activity_method(
        TickActivities.outcome, tick, summary="Look how the view stands", **CATALOG_STEP_OPTIONS
    )


async def leave(tick: Tick) -> None:
    """Cancel the view of a tick in its generation."""
    await workflow.execute_local_activity_method(
        TickActivities.leave, tick, summary="Cancel the view", **CATALOG_STEP_OPTIONS
    )


async def release_ticks(request: GenerationRequest) -> None:
    """Report to the ticks that follow a generation how it ended."""
    await workflow.execute_local_activity_method(
        TickActivities.release, request, summary="Report to its ticks", **CATALOG_STEP_OPTIONS
    )


async def start_deliveries(notices: Iterable[WebhookEvent]) -> None:
    """Start the delivery of each webhook event as a workflow of its own: no run waits for a webhook."""
    for event in notices:
        with suppress(WorkflowAlreadyStartedError):
            await workflow.start_child_workflow(
                DeliverNotice.run,
                event,
                id=contract.notice_workflow_id(event.data.run_id, event.name),
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
