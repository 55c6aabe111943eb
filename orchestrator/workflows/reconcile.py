"""The reconciler as a workflow: run by its own schedule and at the start of every worker."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from orchestrator.activities.reconcile import ReconcileActivities
    from orchestrator.model.findings import ReconcileReport, ReconcileRequest
    from orchestrator.temporal import contract

# If a server is away for longer, the next tick tries again.
RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30), maximum_attempts=5)
START_TO_CLOSE_TIMEOUT = timedelta(minutes=30)
# If a worker dies during the activity, another one must soon be able to repeat it.
HEARTBEAT_TIMEOUT = timedelta(seconds=30)


@workflow.defn(name=contract.RECONCILE, failure_exception_types=[Exception])
class Reconcile:
    """One reconciliation of runs, schedules and files."""

    @workflow.run
    async def run(self, request: ReconcileRequest) -> ReconcileReport:
        """Reconcile, and return the findings."""
        return await workflow.execute_activity_method(
            ReconcileActivities.reconcile,
            request,
            task_queue=contract.RECONCILER_QUEUE,
            start_to_close_timeout=START_TO_CLOSE_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=RETRIES,
        )
