"""Every activity of a worker: its lines in the log carry its ids, and what it brought about is counted."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from orchestrator.model.notice import Notice
from orchestrator.model.reconciliation import Report
from orchestrator.model.run import Closing, RunPlan, run_id_of
from orchestrator.model.snapshot import Snapshot
from orchestrator.telemetry.context import about, ids_of_step, remember_project
from orchestrator.telemetry.runs import RunCounter


class TelemetryInterceptor(Interceptor):
    """Gives the log of every activity its ids, and tells `counter`, if there is one, which runs have ended."""

    def __init__(self, counter: RunCounter | None = None) -> None:
        self._counting = None if counter is None else _Counting(counter)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap the calls of every activity."""
        return _Watcher(next, self._counting)


class _Watcher(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, counting: "_Counting | None") -> None:  # noqa: A002
        super().__init__(next)
        self._counting = counting

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        with about(_ids(input.args)):
            result = await super().execute_activity(input)
            if isinstance(result, RunPlan):
                remember_project(result.saved_query_id, result.project_id)
            if self._counting is not None:
                self._counting.note(input.args, result)
            return result


class _Counting:
    """Counts beside the activities: a run is published when it is, however long PostgreSQL takes to tell of it."""

    def __init__(self, counter: RunCounter) -> None:
        self._counter = counter
        self._pending: set[asyncio.Task[None]] = set()  # the event loop alone would let them be collected

    def note(self, args: Sequence[Any], result: object) -> None:
        """Count a run that was published or closed: those two steps are told by what they are given."""
        match args, result:
            case ([Snapshot() as snapshot], _):
                self._count(snapshot.run_id)
            case ([Closing() as closing], _):
                workflow_run_id = activity.info().workflow_run_id
                if workflow_run_id is not None:
                    self._count(run_id_of(UUID(workflow_run_id), closing.request.saved_query_id))
            case (_, Report() as report):
                self._counter.reconciled(report)

    def _count(self, run_id: UUID) -> None:
        task = asyncio.create_task(self._counter.ended(run_id))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)


def _ids(args: Sequence[Any]) -> dict[str, str]:
    info = activity.info()
    match args:
        case [RunPlan() as plan]:
            remember_project(plan.saved_query_id, plan.project_id)
        case [Notice() as notice]:
            data = notice.data
            told = {"project": str(data.project_id), "view": str(data.view_id), "run": str(data.run_id)}
            return ids_of_step(vars(info)) | told
    return ids_of_step(vars(info))
