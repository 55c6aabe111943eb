"""The reconciler's own schedule, and its run at the start of a worker."""

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.schedule.v1 import Schedule as ScheduleProto
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.common import WorkflowIDConflictPolicy

from orchestrator.model.findings import ReconcileRequest
from orchestrator.temporal import contract
from orchestrator.temporal.client import RPC_TIMEOUT, translate_rpc_errors
from orchestrator.temporal.schedule_update import replace_schedule

_TRIES = 3
_NOTE = "Compares runs, schedules and files with the catalog, and repairs what differs."


async def ensure_reconciler_schedule(client: Client, every: timedelta) -> None:
    """Create the reconciler's schedule, or set the interval of the existing one, whose pause is kept."""
    action = ScheduleActionStartWorkflow(
        contract.RECONCILE,
        ReconcileRequest(),
        id=contract.RECONCILE_ID,
        task_queue=contract.TASK_QUEUE,
        static_summary="Reconcile runs, schedules and files",
    )
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)])
    # A short window: the next tick does the work of all ticks that the server missed while it was away.
    policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(seconds=10))
    schedule = Schedule(action=action, spec=spec, policy=policy, state=ScheduleState(note=_NOTE))
    try:
        with translate_rpc_errors():
            await client.create_schedule(contract.RECONCILE_ID, schedule, rpc_timeout=RPC_TIMEOUT)
    except ScheduleAlreadyRunningError:
        await _set_interval(client, every)


async def start_reconciler(client: Client) -> None:
    """Start the reconciler's workflow, unless one that was started this way is running."""
    with translate_rpc_errors():
        await client.start_workflow(
            contract.RECONCILE,
            ReconcileRequest(),
            id=contract.RECONCILE_ID,
            task_queue=contract.TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary="Reconcile runs, schedules and files: a worker has started",
            rpc_timeout=RPC_TIMEOUT,
        )


async def _set_interval(client: Client, every: timedelta) -> None:
    """Set the interval, unless an operator has given the schedule no interval or several."""
    handle = client.get_schedule_handle(contract.RECONCILE_ID)
    desired = Duration()
    desired.FromTimedelta(every)
    for _ in range(_TRIES):
        with translate_rpc_errors():
            raw = (await handle.describe(rpc_timeout=RPC_TIMEOUT)).raw_description
        intervals = raw.schedule.spec.interval
        if len(intervals) != 1 or intervals[0].interval == desired:
            return
        changed = ScheduleProto()
        changed.CopyFrom(raw.schedule)
        changed.spec.interval[0].interval.CopyFrom(desired)
        await replace_schedule(client, contract.RECONCILE_ID, changed, raw.conflict_token)
