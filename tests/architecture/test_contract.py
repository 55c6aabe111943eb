"""Names in Temporal's storage must be known to the next release."""

from collections.abc import Callable
from uuid import UUID

from temporalio import activity, workflow

from orchestrator.activities.begin import BeginActivities
from orchestrator.activities.finish import FinishActivities
from orchestrator.activities.reconcile import ReconcileActivities
from orchestrator.activities.webhooks import WebhookActivities
from orchestrator.activities.write import WriteActivities
from orchestrator.activities.write_several import WriteSeveralActivities
from orchestrator.temporal import contract
from orchestrator.workflows.deliver_notice import DeliverNotice
from orchestrator.workflows.reconcile import Reconcile
from orchestrator.workflows.refresh import RefreshViews
from orchestrator.workflows.scheduled_tick import ScheduledTick

VIEW = UUID("12345678-1234-5678-1234-567812345678")


def test_workflow_types_are_named_as_the_contract_says() -> None:
    assert workflow._Definition.must_from_class(RefreshViews).name == contract.REFRESH
    assert workflow._Definition.must_from_class(ScheduledTick).name == contract.SCHEDULED_TICK
    assert workflow._Definition.must_from_class(DeliverNotice).name == contract.DELIVER_NOTICE_WORKFLOW
    assert workflow._Definition.must_from_class(Reconcile).name == contract.RECONCILE
    assert set(workflow._Definition.must_from_class(RefreshViews).updates) == {
        contract.PROGRESS,
        contract.CANCEL_MEMBER,
        contract.MEMBERS_ENDED,
    }
    assert set(workflow._Definition.must_from_class(RefreshViews).signals) == {contract.STOP_MEMBER}


def test_activities_are_named_as_the_contract_says() -> None:
    named: dict[str, Callable[..., object]] = {
        contract.BEGIN: BeginActivities.begin,
        contract.REPIN: BeginActivities.repin,
        contract.WRITE_SNAPSHOT: WriteActivities.write_snapshot,
        contract.WRITE_SNAPSHOTS: WriteSeveralActivities.write_snapshots,
        contract.PUBLISH: FinishActivities.publish,
        contract.CLOSE: FinishActivities.close,
        contract.SUMMARIZE: FinishActivities.summarize,
        contract.DELIVER_NOTICE: WebhookActivities.deliver_notice,
        contract.RECONCILE_ALL: ReconcileActivities.reconcile,
    }
    for name, function in named.items():
        assert activity._Definition.must_from_callable(function).name == name


def test_the_names_in_temporals_storage_do_not_change() -> None:
    """Changing one of these strands every schedule and every open run of an installation."""
    assert contract.TASK_QUEUE == "matview"
    assert contract.REFRESH == "RefreshViews"
    assert contract.SCHEDULED_TICK == "ScheduledTick"
    assert contract.NOTICE_QUEUE == "matview-notices"
    assert contract.DELIVER_NOTICE_WORKFLOW == "DeliverNotice"
    assert (contract.PROGRESS, contract.CANCEL_MEMBER) == ("progress", "cancel_member")
    assert (contract.STOP_MEMBER, contract.MEMBERS_ENDED) == ("stop_member", "members_ended")
    assert contract.WRITE_SNAPSHOTS == "write_snapshots"
    assert (contract.BEGIN, contract.WRITE_SNAPSHOT, contract.REPIN) == ("begin", "write_snapshot", "repin")
    assert (contract.PUBLISH, contract.CLOSE, contract.SUMMARIZE) == ("publish", "close", "summarize")
    assert contract.SOURCE_MOVED == "source_moved"
    assert contract.SEARCH_ATTRIBUTES == ("MatviewProject", "MatviewView", "MatviewStatus", "MatviewTrigger")
    assert contract.notice_workflow_id(VIEW, "run.failed") == f"notify/{VIEW}/run.failed"
    assert contract.run_workflow_id(VIEW) == f"materialize/{VIEW}"
    assert contract.generation_workflow_id(1, VIEW) == f"refresh/1/{VIEW}"
    assert contract.schedule_id(VIEW) == f"materialize/{VIEW}"
    assert contract.tick_workflow_id(VIEW, 1, "a.b") == f"tick/project-1/a.b/{VIEW}"
