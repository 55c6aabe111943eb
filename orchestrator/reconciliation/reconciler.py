"""The reconciler: compares runs, schedules and files with the catalog, and repairs what differs.

A process that dies between two steps leaves a difference that is found here, so no other code has to clean up after
itself. The reconciler never changes a pause; it keeps a copy of each, with which a lost schedule is created again.
Schedules and files that the catalog has never known are reported and left alone: they belong to another installation,
or to views made after the backup from which the catalog was restored.

Every step may be repeated and may meet any concurrent change. Temporal's lists are only a hint, which may be late.
Repairs go through `ScheduleSync` and `RunSync`, which read again after acting, and only files of runs that have ended
are deleted.
"""

import logging
from dataclasses import dataclass

from orchestrator.model.findings import Finding, ReconcileReport, ReconcileRequest
from orchestrator.reconciliation.current import CurrentLinks
from orchestrator.reconciliation.files import FileReconciler
from orchestrator.reconciliation.runs import RunReconciler
from orchestrator.reconciliation.schedules import ScheduleReconciler
from orchestrator.reconciliation.tries import TryReconciler

logger = logging.getLogger(__name__)

_MOST_FINDINGS = 500


@dataclass(frozen=True)
class Reconciler:
    """All comparisons, one after another."""

    runs: RunReconciler
    schedules: ScheduleReconciler
    tries: TryReconciler
    files: FileReconciler
    current: CurrentLinks

    async def reconcile(self, request: ReconcileRequest, *, apply_policy: bool) -> ReconcileReport:
        """Find what differs, and repair it unless it is a dry run. Raises Transient if a server is away.

        Args:
            request: Whether it is a dry run.
            apply_policy: Whether the failure policy is applied to the runs that are closed. A worker does: it knows
                whether there is a webhook, which the environment of a command may not say.
        """
        findings: list[Finding] = []
        for step in (
            self.runs.close_ended,
            self.schedules.repair_drift,
            self.runs.cancel_orphaned,
            self.tries.end,
            self.files.remove_expired,
            self.files.delete_orphaned,
            self.current.repair,
        ):
            async for finding in step(request.dry_run):
                level = logging.DEBUG if finding.kind.startswith("unknown") else logging.INFO
                logger.log(level, "%s %s: %s", finding.kind, finding.subject, finding.message)
                findings.append(finding)
            if step == self.runs.close_ended and apply_policy and not request.dry_run:
                await self.runs.apply_policy()
        return ReconcileReport(dry_run=request.dry_run, findings=tuple(findings[:_MOST_FINDINGS]), total=len(findings))
