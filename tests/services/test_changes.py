"""A change that is committed is answered as made, also if what follows it in Temporal cannot be done at that moment."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from orchestrator.catalog import generations, runs as catalog_runs
from orchestrator.container import Container
from orchestrator.model.cron import CronSchedule
from orchestrator.model.definitions import Change, Definitions, ViewDefinition
from orchestrator.model.findings import FindingKind
from orchestrator.model.generation import EndedRun, Selection
from orchestrator.model.run import RunRequest, RunStatus, Trigger
from orchestrator.model.saved_query import SavedQuery, SyncFrequency, Timing
from orchestrator.reconciliation.schedules import ScheduleReconciler, ScheduleSync
from orchestrator.services import runs
from orchestrator.services.changes import AppliedChange, ChangeService
from orchestrator.services.generation_start import new_generation
from orchestrator.temporal import contract
from orchestrator.temporal.client import connect
from orchestrator.temporal.schedules import Schedules
from tests.services.conftest import Project

DAILY = Timing(frequency=SyncFrequency.HOUR_24)
MOST_WAITING = 100


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a workflow that stays open no longer than these tests need."""
    monkeypatch.setattr(runs, "CANCEL_WAIT", timedelta(seconds=0.5))


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, "orchestrator.services.changes"):
        yield caplog


def definition(name: str, value: int = 1, timing: Timing | None = DAILY) -> ViewDefinition:
    return ViewDefinition(name=name, query={"kind": "SQLQuery", "query": f"SELECT {value} AS n"}, timing=timing)


async def apply(
    service: ChangeService,
    project: Project,
    *views: ViewDefinition,
    delete: tuple[str, ...] = (),
    refresh: bool = True,
) -> AppliedChange:
    change = Change(definitions=Definitions(views=views), delete=delete)
    return await service.apply(project.id, change, project.user, refresh=refresh)


async def views_of(container: Container, project: Project) -> dict[str, SavedQuery]:
    _, found = await container.services.definitions.page(project.id, search=None, limit=100, offset=0)
    return {one.name: one for one in found}


class Before(ScheduleSync):
    """Makes schedules match the catalog, and then has another client act before the change goes on."""

    def __init__(self, container: Container, act: Callable[[UUID], Awaitable[object]]) -> None:
        super().__init__(container.database, container.schedules)
        self._act = act

    async def sync(self, saved_query_id: UUID) -> None:
        await super().sync(saved_query_id)
        await self._act(saved_query_id)


@asynccontextmanager
async def open_workflow(
    container: Container, project: Project, view: SavedQuery, status: RunStatus = RunStatus.RUNNING
) -> AsyncIterator[None]:
    """A run of the view whose workflow stays open, for no worker serves its queue; in the catalog it has a status."""
    request = RunRequest(saved_query_id=view.id, trigger=Trigger.API)
    workflow_id = contract.run_workflow_id(view.id)
    handle = await container.temporal.start_workflow(contract.REFRESH, request, id=workflow_id, task_queue="unserved")
    workflow_run_id = UUID(handle.first_execution_run_id)
    async with container.database.begin() as tx:
        await generations.ensure_single(tx, workflow_run_id, project.id, request, workflow_id)
        run = await catalog_runs.ensure_run(tx, request, workflow_id, workflow_run_id, generation_id=workflow_run_id)
        if status is not RunStatus.RUNNING:
            await catalog_runs.close(tx, [EndedRun(run_id=run.id, status=status)])
    try:
        yield
    finally:
        await handle.terminate()
        async with container.database.begin() as tx:
            await catalog_runs.close(tx, [EndedRun(run_id=run.id, status=RunStatus.CANCELLED)])


async def test_a_change_that_finds_too_many_refreshes_waiting_is_made_without_one(
    container: Container, project: Project, log: pytest.LogCaptureFixture
) -> None:
    changes = container.services.changes
    await apply(changes, project, definition("a"), definition("b"), refresh=False)
    waiting = [
        new_generation(project.id, Selection(views=(uuid4(), uuid4())), Trigger.API) for _ in range(MOST_WAITING)
    ]
    async with container.database.begin() as tx:
        for one in waiting:
            await generations.insert_new(tx, one, project.user.id)
    try:
        done = await apply(changes, project, definition("a", 2), definition("b", 2))
    finally:
        async with container.database.begin() as tx:
            for one in waiting:
                assert await generations.delete_unstarted(tx, one.id)
    assert (len(done.plan.runs), done.generation_id) == (2, None)
    assert {one.revision.number for one in (await views_of(container, project)).values()} == {2}
    assert f"started no refresh: {MOST_WAITING} refreshes of this project wait" in log.text

    again = await apply(changes, project, definition("a", 2), definition("b", 2))
    assert (again.plan.changes, again.generation_id is None) == ((), False), "the next apply refreshes them"


@pytest.mark.parametrize(
    ("change", "reason"),
    [("delete", 'There is no view "v" in this project.'), ("revert", "None of these views is materialized.")],
)
async def test_a_view_that_is_gone_before_its_refresh_leaves_the_change_made(
    container: Container, project: Project, log: pytest.LogCaptureFixture, change: str, reason: str
) -> None:
    async def undo(saved_query_id: UUID) -> None:
        await getattr(container.services.views, change)(project.id, saved_query_id, project.user)

    changes = replace(container.services.changes, schedule_sync=Before(container, undo))
    done = await apply(changes, project, definition("v"))
    assert ([one.name for one in done.plan.changes], done.generation_id) == (["v"], None)
    assert f"started no refresh: {reason}" in log.text
    assert {name: one.is_materialized for name, one in (await views_of(container, project)).items()} == (
        {} if change == "delete" else {"v": False}
    )


async def test_a_deletion_whose_run_does_not_stop_in_time_is_made(
    container: Container, project: Project, log: pytest.LogCaptureFixture
) -> None:
    changes = container.services.changes
    await apply(changes, project, definition("v"), refresh=False)
    view = (await views_of(container, project))["v"]
    async with open_workflow(container, project, view):
        done = await apply(changes, project, delete=("v",))
        assert [one.action for one in done.plan.changes] == ["delete"]
        assert await views_of(container, project) == {}
        async with container.database.begin() as tx:
            assert await catalog_runs.list_open(tx, [view.id]) == [], "it publishes nothing any more"
    assert "are left to the reconciler: The cancel was sent, but the query has not stopped yet." in log.text


async def test_an_edit_of_a_view_whose_last_run_is_about_to_end_is_made(
    container: Container, project: Project, log: pytest.LogCaptureFixture
) -> None:
    changes = container.services.changes
    await apply(changes, project, definition("v"), refresh=False)
    view = (await views_of(container, project))["v"]
    async with open_workflow(container, project, view, RunStatus.FAILED):
        done = await apply(changes, project, definition("v", 2))
    assert (len(done.plan.runs), done.generation_id) == (1, None)
    assert (await views_of(container, project))["v"].revision.number == 2
    assert "started no refresh: The last run of this view is about to end." in log.text


async def test_without_temporal_a_committed_change_is_made_and_the_reconciler_makes_its_schedule(
    container: Container, project: Project, log: pytest.LogCaptureFixture
) -> None:
    away = Schedules(await connect("127.0.0.1:9", None, lazy=True))
    changes = replace(container.services.changes, schedule_sync=ScheduleSync(container.database, away))
    await apply(changes, project, definition("v"), refresh=False)
    view = (await views_of(container, project))["v"]
    assert "is left to the reconciler: Temporal is out of reach." in log.text
    assert await container.schedules.find(view.id) is None

    sync = ScheduleSync(container.database, container.schedules)
    reconciler = ScheduleReconciler(container.database, container.schedules, sync)
    found = {(one.subject, one.kind) async for one in reconciler.repair_drift(dry_run=False)}
    assert (str(view.id), FindingKind.SCHEDULE_MISSING) in found
    assert await container.schedules.find(view.id) is not None


async def test_a_time_zone_that_the_server_does_not_know_hinders_no_other_view(
    container: Container, project: Project, log: pytest.LogCaptureFixture
) -> None:
    unknown = Timing.of_cron(CronSchedule(expression="0 6 * * *", time_zone="Atlantis/Center"))
    others = [definition(f"v_{n}") for n in range(10)]
    await apply(container.services.changes, project, definition("a", timing=unknown), *others, refresh=False)
    found = await views_of(container, project)
    scheduled = {name for name, view in found.items() if await container.schedules.find(view.id)}
    assert scheduled == {one.name for one in others}
    assert f"the schedule of view {found['a'].id} is left to the reconciler: Temporal cannot schedule" in log.text
    await container.services.views.delete(project.id, found["a"].id, project.user)
