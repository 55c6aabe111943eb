"""Instruments every activity of a worker: its log lines carry ids, and the reconciler's findings are counted."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from orchestrator.model.findings import ReconcileReport
from orchestrator.model.generation import Begun, MemberTask
from orchestrator.model.webhook_event import WebhookEvent
from orchestrator.telemetry.log_context import bound_log_fields, ids_from_sdk, remember_project
from orchestrator.telemetry.runs import RunCounter

_MOST_MEMBERS = 100


class TelemetryInterceptor(Interceptor):
    """Adds ids to the log lines of every activity; `counter`, if there is one, counts the reconciler's reports."""

    def __init__(self, counter: RunCounter | None = None) -> None:
        self._counter = counter

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap the calls of every activity."""
        return _Watcher(next, self._counter)


class _Watcher(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, counter: RunCounter | None) -> None:  # noqa: A002
        super().__init__(next)
        self._counter = counter

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        with bound_log_fields(_ids(input.args)):
            result = await super().execute_activity(input)
            if isinstance(result, Begun):
                for member in result.members[:_MOST_MEMBERS]:
                    remember_project(member.saved_query_id, result.project_id)
            if isinstance(result, ReconcileReport) and self._counter is not None:
                self._counter.reconciled(result)
            return result


def labelled(task: MemberTask) -> AbstractContextManager[None]:
    """Add the ids of one of several members to all that is logged for it."""
    return bound_log_fields(_of_member(task))


def _of_member(task: MemberTask) -> dict[str, str]:
    return {"project": str(task.project_id), "view": str(task.saved_query_id), "run": str(task.run_id)}


def _ids(args: Sequence[Any]) -> dict[str, str]:
    info = activity.info()
    match args:
        case [MemberTask() as task]:
            return ids_from_sdk(vars(info)) | _of_member(task)
        case [WebhookEvent() as notice]:
            data = notice.data
            ids = {"project": str(data.project_id), "view": str(data.view_id), "run": str(data.run_id)}
            return ids_from_sdk(vars(info)) | ids
    return ids_from_sdk(vars(info))
