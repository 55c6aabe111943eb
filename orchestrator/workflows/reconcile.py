"""The reconciler as a workflow: run by its own schedule and at the start of every worker."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from orchestrator.activities.reconcile import Reconciliation
    from orchestrator.model.reconciliation import ReconcileRequest, Report
    from orchestrator.temporal import contract

# A server that is away for longer is left to the next tick.
RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30), maximum_attempts=5)
LONGEST = timedelta(minutes=30)
# A worker that dies meanwhile must not keep the next one from looking.
NOTICED_AFTER = timedelta(seconds=30)


@workflow.defn(name=contract.RECONCILE, failure_exception_types=[Exception])
class Reconcile:
    """One look at everything."""

    @workflow.run
    async def run(self, request: ReconcileRequest) -> Report:
        """Return what was found."""
        return await workflow.execute_activity_method(
            Reconciliation.reconcile,
            request,
            task_queue=contract.UPKEEP_QUEUE,
            start_to_close_timeout=LONGEST,
            heartbeat_timeout=NOTICED_AFTER,
            retry_policy=RETRIES,
        )
