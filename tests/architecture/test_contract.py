"""Names in Temporal's storage must be known to the next release."""

from collections.abc import Callable
from uuid import UUID

from temporalio import activity, workflow

from orchestrator.activities.materialize import MaterializeActivities
from orchestrator.activities.webhooks import WebhookActivities
from orchestrator.temporal import contract
from orchestrator.workflows.deliver_notice import DeliverNotice
from orchestrator.workflows.materialize import MaterializeSavedQuery
from orchestrator.workflows.scheduled_tick import ScheduledTick

VIEW = UUID("12345678-1234-5678-1234-567812345678")


def test_workflow_types_are_named_as_the_contract_says() -> None:
    assert workflow._Definition.must_from_class(MaterializeSavedQuery).name == contract.MATERIALIZE
    assert workflow._Definition.must_from_class(ScheduledTick).name == contract.SCHEDULED_TICK
    assert workflow._Definition.must_from_class(DeliverNotice).name == contract.DELIVER_NOTICE_WORKFLOW


def test_activities_are_named_as_the_contract_says() -> None:
    named: dict[str, Callable[..., object]] = {
        contract.BEGIN_RUN: MaterializeActivities.begin_run,
        contract.WRITE_SNAPSHOT: MaterializeActivities.write_snapshot,
        contract.PUBLISH: MaterializeActivities.publish,
        contract.CLOSE_RUN: MaterializeActivities.close_run,
        contract.DELIVER_NOTICE: WebhookActivities.deliver_notice,
    }
    for name, function in named.items():
        assert activity._Definition.must_from_callable(function).name == name


def test_the_names_in_temporals_storage_do_not_change() -> None:
    """Changing one of these strands every schedule and every open run of an installation."""
    assert contract.TASK_QUEUE == "matview"
    assert contract.MATERIALIZE == "MaterializeSavedQuery"
    assert contract.SCHEDULED_TICK == "ScheduledTick"
    assert contract.NOTICE_QUEUE == "matview-notices"
    assert contract.DELIVER_NOTICE_WORKFLOW == "DeliverNotice"
    assert contract.PROGRESS == "progress"
    assert contract.SEARCH_ATTRIBUTES == ("MatviewProject", "MatviewView", "MatviewStatus", "MatviewTrigger")
    assert contract.notice_workflow_id(VIEW, "run.failed") == f"notify/{VIEW}/run.failed"
    assert contract.run_workflow_id(VIEW) == f"materialize/{VIEW}"
    assert contract.schedule_id(VIEW) == f"materialize/{VIEW}"
    assert contract.tick_workflow_id(VIEW, 1, "a.b") == f"tick/project-1/a.b/{VIEW}"
