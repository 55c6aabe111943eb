"""Schedules, workflows and files of another installation that look like this one's, and which it must not touch."""

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleState,
    WorkflowExecutionStatus,
)
from temporalio.service import RPCError

from chaos.catalog import Unavailable
from chaos.results import Results

_QUEUE = "another-installation"
_NOTE = "of another installation"
_CONTENT = b"not yours"


@dataclass
class OtherInstallation:
    """The objects that were planted, and that the harness has to find unchanged at the end."""

    files: list[str] = field(default_factory=list)
    schedules: list[str] = field(default_factory=list)
    workflows: list[str] = field(default_factory=list)

    async def plant(self, client: Client, results: Results, project_id: str) -> None:
        """Plant schedules, workflows and files."""
        for schedule_id in (f"materialize/{uuid4()}", f"nightly/{uuid4()}"):
            await client.create_schedule(schedule_id, _schedule())
            self.schedules.append(schedule_id)
        for workflow_id, kind in ((f"materialize/{uuid4()}", "RefreshViews"), (f"import/{uuid4()}", "Import")):
            await client.start_workflow(kind, id=workflow_id, task_queue=_QUEUE)
            self.workflows.append(workflow_id)
        places = (
            f"snapshots/{project_id}/{uuid4()}/{uuid4()}-1",
            f"staging/999/{uuid4()}/{uuid4()}-1",
            "snapshots/a/b/c",
        )
        for place in places:
            path = f"{place}/data_0.parquet"
            results.put(path, _CONTENT)
            self.files.append(path)

    @property
    def views(self) -> set[UUID]:
        """The ids of the views in the names of its schedules and workflows."""
        return {UUID(name.partition("/")[2]) for name in (*self.schedules, *self.workflows)}

    def owns(self, place: str) -> bool:
        """Whether a file or a folder is one of its files, or holds one."""
        return any(f"{file}/".startswith(f"{place}/") for file in self.files)

    async def missing(self, client: Client, results: Results) -> list[str]:
        """Describe the objects that are not as they were planted. Raises Unavailable."""
        found = [f"the file {path}" for path in self.files if results.get(path) != _CONTENT]
        try:
            for schedule_id in self.schedules:
                state = (await client.get_schedule_handle(schedule_id).describe()).schedule.state
                if (state.paused, state.note) != (True, _NOTE):
                    found.append(f"the schedule {schedule_id}: {state}")
            for workflow_id in self.workflows:
                status = (await client.get_workflow_handle(workflow_id).describe()).status
                if status is not WorkflowExecutionStatus.RUNNING:
                    found.append(f"the workflow {workflow_id}: {status}")
        except RPCError as error:
            raise Unavailable(str(error)) from error
        return found


def _schedule() -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow("Import", id="import", task_queue=_QUEUE),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(days=1))]),
        state=ScheduleState(paused=True, note=_NOTE),
    )
