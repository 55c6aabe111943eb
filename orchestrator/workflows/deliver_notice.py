"""The delivery of one webhook event. It is retried while the webhook is away, up to a day, and delays no run."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from orchestrator.activities.webhooks import WebhookActivities
    from orchestrator.model.webhook_event import WebhookEvent
    from orchestrator.temporal import contract

# An event is of no use after that.
_SCHEDULE_TO_CLOSE_TIMEOUT = timedelta(days=1)
# Somewhat longer than the activity itself waits for an answer.
_START_TO_CLOSE_TIMEOUT = timedelta(seconds=20)
_RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=15))


@workflow.defn(name=contract.DELIVER_NOTICE_WORKFLOW, failure_exception_types=[Exception])
class DeliverNotice:
    """Sends a webhook event until the webhook accepts or refuses it."""

    @workflow.run
    async def run(self, notice: WebhookEvent) -> None:
        """Return when the event was delivered; fail if it was refused, or could not be delivered for a day."""
        await workflow.execute_activity_method(
            WebhookActivities.deliver_notice,
            notice,
            task_queue=contract.NOTICE_QUEUE,
            schedule_to_close_timeout=_SCHEDULE_TO_CLOSE_TIMEOUT,
            start_to_close_timeout=_START_TO_CLOSE_TIMEOUT,
            retry_policy=_RETRIES,
            summary=f"{notice.type}: {notice.data.view_name}",
        )
