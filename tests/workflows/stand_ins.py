"""Stand-ins for the steps of a generation, for tests of its workflow.

Activities in the place of the program's are Temporal's way to test a workflow, and mock no module: the workflow, its
worker and the server are the real ones.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any, cast
from uuid import UUID, uuid4

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from orchestrator.activities.heartbeat import workflow_ids
from orchestrator.activities.progress import ProgressReporter
from orchestrator.activities.write import Reporting, WriteActivities
from orchestrator.activities.write_several import WriteSeveralActivities
from orchestrator.model.generation import (
    Begun,
    CloseRequest,
    EndedRun,
    GenerationRequest,
    GenerationStatus,
    MemberPlan,
    MemberResult,
    MemberTask,
    PublishRequest,
    RefreshOutcome,
    RefreshRequest,
    RepinRequest,
)
from orchestrator.model.run import RunOutcome, RunRequest, RunStatus, Trigger, run_id_of
from orchestrator.model.webhook_event import ClosedRun, ClosedRuns
from orchestrator.temporal import contract
from orchestrator.workflows.refresh import RefreshViews
from tests.workflows.sandbox import workflow_runner

PATIENCE = 60
Step = Callable[[], Awaitable[None]]
MemberStep = Callable[[str], Awaitable[None]]


async def nothing() -> None:
    """A step that ends at once."""


async def no_query(_: str) -> None:
    """A query that ends at once."""


class Held:
    """A step that is in progress until the test lets it end, or until it is cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self, _: str = "") -> None:
        self.begun.set()
        while not self.released.is_set():
            if activity.info().heartbeat_timeout:
                activity.heartbeat()
            await asyncio.sleep(0.05)


class Steps:
    """The steps of a generation. Each does what the test says, and then returns what a generation needs."""

    def __init__(
        self,
        members: Sequence[MemberPlan] = (),
        *,
        begin: Step = nothing,
        write: MemberStep = no_query,
        publish: Step = nothing,
        held_by: Sequence[str] = (),
        all_or_nothing: bool = False,
        repinned: Collection[UUID] | None = None,
    ) -> None:
        self._repinned = repinned
        self.members = members
        self._steps = {"begin": begin, "publish": publish}
        self._write = write
        self._held_by = list(held_by)
        self._all_or_nothing = all_or_nothing
        self.begun = 0
        self.closed: list[EndedRun] = []
        self.published: list[tuple[str, ...]] = []
        self.repinned: list[RepinRequest] = []
        self.queried: list[str] = []
        self.reporters: dict[str, ProgressReporter] = {}
        self.attempts = None
        self._ended: dict[UUID, ClosedRun] = {}

    def name_of(self, run_id: UUID) -> str:
        return next((one.name for one in self.members if one.run_id == run_id), "v")

    @activity.defn(name=contract.BEGIN)
    async def begin(self, request: RefreshRequest) -> Begun:
        self.begun += 1
        await self._steps["begin"]()
        begun = Begun(generation_id=uuid4(), project_id=1, all_or_nothing=self._all_or_nothing)
        if self._held_by:
            return begun.model_copy(update={"held_by": (self._held_by.pop(),)})
        if isinstance(request, RunRequest):
            run_id = run_id_of(workflow_ids()[1], request.saved_query_id)
            self.members = [
                MemberPlan(run_id=run_id, saved_query_id=request.saved_query_id, name="v", timeout_seconds=60)
            ]
        return begun.model_copy(update={"members": tuple(self._open())})

    def _open(self) -> list[MemberPlan]:
        """The members that have not ended, as the program would return them to a further run of the workflow."""
        left = [one for one in self.members if one.run_id not in self._ended]
        position = {one.run_id: number for number, one in enumerate(left)}
        return [
            one.model_copy(
                update={
                    "parents": tuple(
                        position[self.members[parent].run_id]
                        for parent in one.parents
                        if self.members[parent].run_id in position
                    )
                }
            )
            for one in left
        ]

    @activity.defn(name=contract.WRITE_SNAPSHOT)
    async def write_snapshot(self, task: MemberTask) -> MemberResult:
        return await self.write(task.run_id)

    async def write(self, run_id: UUID, _attempts: object = None, reporting: Reporting | None = None) -> MemberResult:
        """As WriteActivities does it, which the program's own step for several members calls."""
        name = self.name_of(run_id)
        self.queried.append(name)
        async with reporting(run_id) if reporting else nullcontext() as reporter:
            if reporter is not None:
                self.reporters[name] = reporter
            await self._write(name)
        return MemberResult(snapshot_id=uuid4(), rows=3, bytes=4)

    @activity.defn(name=contract.REPIN)
    async def repin(self, request: RepinRequest) -> tuple[UUID, ...]:
        self.repinned.append(request)
        return tuple(one.run_id for one in self.members if self._repinned is None or one.run_id in self._repinned)

    @activity.defn(name=contract.PUBLISH)
    async def publish(self, request: PublishRequest) -> ClosedRuns:
        await self._steps["publish"]()
        self.published.append(tuple(map(self.name_of, request.run_ids)))
        for run_id in request.run_ids:
            self._ended[run_id] = ClosedRun(run_id=run_id, status=RunStatus.COMPLETED, rows=3, bytes=4)
        return self._result(request.run_ids)

    @activity.defn(name=contract.CLOSE)
    async def close(self, request: CloseRequest) -> ClosedRuns:
        """As the program's does: a run that was published stays so, also if its workflow has lost the answer."""
        self.closed += request.runs
        for run in request.runs:
            closed = ClosedRun(
                run_id=run.run_id, status=run.status, error=run.error, error_code=run.error_code, detail=run.reason
            )
            self._ended.setdefault(run.run_id, closed)
        return self._result([run.run_id for run in request.runs])

    @activity.defn(name=contract.SUMMARIZE)
    async def summarize(self, _: GenerationRequest) -> RefreshOutcome:
        statuses = {one.status for one in self._ended.values()}
        ended_badly = not statuses or RunStatus.CANCELLED in statuses
        status = GenerationStatus.CANCELLED if ended_badly else GenerationStatus.COMPLETED
        return RefreshOutcome(status=status, detail=", ".join(sorted(statuses)))

    def _result(self, run_ids: Sequence[UUID]) -> ClosedRuns:
        return ClosedRuns(runs=tuple(self._ended[run_id] for run_id in run_ids))

    def all(self) -> list[Callable[..., Any]]:
        several = WriteSeveralActivities(cast("WriteActivities", self), lambda _: nullcontext())
        writing: list[Callable[..., Any]] = [self.write_snapshot, several.write_snapshots]
        return [self.begin, *writing, self.repin, self.publish, self.close, self.summarize]


def member(name: str, *parents: int, component: int = 0) -> MemberPlan:
    """A member that reads those at these positions."""
    return MemberPlan(
        run_id=uuid4(), saved_query_id=uuid4(), name=name, timeout_seconds=60, parents=parents, component=component
    )


@asynccontextmanager
async def running(temporal: Client, steps: Steps) -> AsyncIterator[WorkflowHandle[Any, RunOutcome]]:
    """A generation of one, whose worker has these steps."""
    view = uuid4()
    request = RunRequest(saved_query_id=view, label="v (project 1)", trigger=Trigger.API)
    async with _working(temporal, steps) as queue:
        yield await temporal.start_workflow(
            contract.REFRESH, request, id=contract.run_workflow_id(view), task_queue=queue, result_type=RunOutcome
        )


@asynccontextmanager
async def running_several(
    temporal: Client, steps: Steps, *, patched: bool = False
) -> AsyncIterator[WorkflowHandle[Any, RefreshOutcome]]:
    """A generation of several views, whose worker has these steps.

    `patched` runs the workflow outside of the sandbox, which would load its modules again, without what a test changed.
    """
    generation = uuid4()
    request = GenerationRequest(generation_id=generation, project_id=1)
    async with _working(temporal, steps, sandboxed=not patched) as queue:
        yield await temporal.start_workflow(
            contract.REFRESH,
            request,
            id=contract.generation_workflow_id(1, generation),
            task_queue=queue,
            result_type=RefreshOutcome,
        )


@asynccontextmanager
async def _working(temporal: Client, steps: Steps, *, sandboxed: bool = True) -> AsyncIterator[str]:
    queue = f"steps-{uuid4()}"
    async with Worker(
        temporal,
        task_queue=queue,
        workflows=[RefreshViews],
        activities=steps.all(),
        workflow_runner=workflow_runner() if sandboxed else UnsandboxedWorkflowRunner(),
    ):
        yield queue
