"""The sandbox in which recorded histories are replayed: a workflow that asks the clock or the network fails there."""

from temporalio.worker import WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import SandboxImportNotificationPolicy


def workflow_runner() -> WorkflowRunner:
    """A runner that also raises if a workflow imports a module that it does not declare as passed through."""
    policy = (
        SandboxImportNotificationPolicy.WARN_ON_DYNAMIC_IMPORT
        | SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
    )
    return SandboxedWorkflowRunner(SandboxRestrictions.default.with_import_notification_policy(policy))
