"""The reconciler as an activity."""

from dataclasses import dataclass

from temporalio import activity

from orchestrator.activities.heartbeat import heartbeating
from orchestrator.model.findings import ReconcileReport, ReconcileRequest
from orchestrator.reconciliation.reconciler import Reconciler
from orchestrator.temporal import contract

_HEARTBEAT_SECONDS = 5


@dataclass(frozen=True)
class ReconcileActivities:
    """The activity of the workflow `Reconcile`."""

    reconciler: Reconciler

    @activity.defn(name=contract.RECONCILE_ALL)
    async def reconcile(self, request: ReconcileRequest) -> ReconcileReport:
        """Compare and repair everything. Raises Transient if a server is away."""
        async with heartbeating(_HEARTBEAT_SECONDS):
            return await self.reconciler.reconcile(request, apply_policy=True)
