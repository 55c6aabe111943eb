"""The reconciler, as the worker has it, and a shop."""

from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.findings import FindingKind, ReconcileRequest
from orchestrator.model.snapshot import Retention
from orchestrator.reconciliation.current import CurrentLinks
from orchestrator.reconciliation.failure_policy import FailurePolicy
from orchestrator.reconciliation.files import FileReconciler
from orchestrator.reconciliation.reconciler import Reconciler
from orchestrator.reconciliation.runs import RunReconciler, RunSync
from orchestrator.reconciliation.schedules import ScheduleReconciler, ScheduleSync
from orchestrator.reconciliation.tries import TryReconciler
from orchestrator.stores.local import LocalStore
from orchestrator.temporal.run_workflows import RunWorkflows
from orchestrator.temporal.schedules import Schedules
from orchestrator.temporal.try_workflows import TryWorkflows
from tests.acceptance.reconciling import KEEP_ALL, Reconcile
from tests.acceptance.shops import Shop
from tests.support.tenants import Tenant


async def never() -> None:
    raise AssertionError("nothing else is to repair what this reconciler repairs")


@pytest.fixture
def reconcile(stack: DevStack, temporal: Client, database: Database) -> Reconcile:
    """A function that reconciles everything once, and returns the kind and subject of each finding."""

    async def look(*, dry_run: bool = False, retention: Retention = KEEP_ALL) -> set[tuple[FindingKind, str]]:
        store = LocalStore(Path(stack.info["data_dir"]))
        schedules = Schedules(temporal)
        policy = FailurePolicy(database, schedules, notifies=False)
        workflows = RunWorkflows(temporal)
        reconciler = Reconciler(
            RunReconciler(database, workflows, RunSync(database, workflows), policy),
            ScheduleReconciler(database, schedules, ScheduleSync(database, schedules)),
            TryReconciler(database, workflows, TryWorkflows(temporal), starting=timedelta(0)),
            FileReconciler(database, store, retention),
            CurrentLinks(database, store, never),
        )
        report = await reconciler.reconcile(ReconcileRequest(dry_run=dry_run), apply_policy=False)
        assert report.total == len(report.findings)
        return {(finding.kind, finding.subject) for finding in report.findings}

    return look


@pytest.fixture
async def shop(tenant: Tenant, sources: Path) -> Shop:
    """A project whose edits are tried."""
    made = Shop(tenant, sources)
    await made.make()
    return made
