"""Views, schedules and runs as the API calls them, without HTTP between."""

import asyncio
import dataclasses
from collections import Counter
from datetime import timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from orchestrator.activities.finish import FinishActivities
from orchestrator.catalog import audit_log, run_plans, tables as t
from orchestrator.container import Container
from orchestrator.model.audit import Verb
from orchestrator.model.errors import Invalid, NotFound, NotMaterialized, NotRunning, TemporalUnavailable
from orchestrator.model.generation import Generation, GenerationRequest, GenerationStatus
from orchestrator.model.run import RunRequest, RunStatus, Trigger
from orchestrator.model.saved_query import SavedQuery, SyncFrequency, ViewStatus
from orchestrator.services.definitions import ViewUpdate
from orchestrator.services.generations import RefreshOrder
from orchestrator.services.views import ViewService
from orchestrator.temporal.client import connect
from orchestrator.temporal.run_workflows import RunWorkflows, StartResult
from orchestrator.temporal.schedules import Schedules
from orchestrator.temporal.search_attributes import ViewRef
from tests.services.conftest import Project
from tests.support import publishing
from tests.support.tenants import until

ENDLESS = "SELECT count(*) AS n FROM range(1000000000000) t(i) WHERE i % 7 = 3 AND i % 11 = 5"


async def create(container: Container, project: Project, name: str, sql: str = "SELECT 1 AS n") -> SavedQuery:
    draft = ViewUpdate(name=name, query={"kind": "HogQLQuery", "query": sql})
    state, is_new = await container.services.views.create_or_update(project.id, draft, project.user)
    assert is_new
    return state.view


async def ended(container: Container, project: Project, view: SavedQuery, runs: int = 1) -> RunStatus:
    """How the newest run ended, once that many have."""

    async def ask() -> RunStatus | None:
        history = await container.services.runs.history(project.id, view.id, 10)
        over = len(history) >= runs and all(state.run.status is not RunStatus.RUNNING for state in history)
        return history[0].run.status if over else None

    return await until(ask, f"{runs} ended run(s)")


async def test_a_view_is_materialized_once_and_each_further_call_starts_nothing(
    container: Container, project: Project
) -> None:
    views = container.services.views
    view = await create(container, project, "v")
    first = await views.materialize(project.id, view.id, None, project.user)
    assert first.schedule is not None
    assert first.schedule.times.intervals == (SyncFrequency.HOUR_24.interval,)
    assert await ended(container, project, view) is RunStatus.COMPLETED
    again = await views.materialize(project.id, view.id, SyncFrequency.HOUR_1, project.user)
    assert again.schedule is not None
    assert again.schedule.times.intervals == (SyncFrequency.HOUR_1.interval,)
    assert len(await container.services.runs.history(project.id, view.id, 10)) == 1


async def test_two_runs_at_once_are_one_run(container: Container, project: Project) -> None:
    runs = container.services.runs
    view = await create(container, project, "v", ENDLESS)
    await container.services.views.materialize(project.id, view.id, None, project.user)
    current = await container.services.definitions.get(project.id, view.id)
    started = await asyncio.gather(*(runs.start(current, Trigger.API, project.user) for _ in range(5)))
    assert started == [False] * 5, "the first run of materializing is in progress"
    assert len(await runs.history(project.id, view.id, 10)) == 1
    state = await runs.cancel(project.id, view.id, project.user)
    assert state.view.status is ViewStatus.CANCELLED
    with pytest.raises(NotRunning):
        await runs.cancel(project.id, view.id, project.user)


async def test_a_run_that_comes_just_after_a_generation_joins_it(
    container: Container, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generation takes hold of the view between the look at what holds it and the start of the run's workflow."""
    services = container.services
    views = [await create(container, project, name, ENDLESS) for name in ("v", "w")]
    for view in views:
        await services.views.materialize(project.id, view.id, None, project.user, run=False)
    started: list[UUID] = []
    start = RunWorkflows.start

    async def start_late(self: RunWorkflows, request: RunRequest, view: ViewRef, details: str) -> StartResult:
        if not started:
            order = RefreshOrder(views=tuple(one.id for one in views))
            started.append(await services.generations.start(project.id, order, project.user))

            async def begun() -> bool:
                return bool((await services.generations.get(project.id, started[0])).members)

            await until(begun, "the generation's members")
        return await start(self, request, view, details)

    monkeypatch.setattr(RunWorkflows, "start", start_late)
    joined = await services.generations.start(project.id, RefreshOrder(views=(views[0].id,)), project.user)
    assert joined == started[0]
    count, _ = await services.generations.page(project.id, view=None, status=None, limit=5, offset=0)
    assert count == 1, "nothing was recorded of a run that never began"
    await services.generations.cancel(project.id, joined)


async def test_a_revert_leaves_no_schedule_no_result_and_nothing_to_run(container: Container, project: Project) -> None:
    view = await create(container, project, "v")
    await container.services.views.materialize(project.id, view.id, None, project.user)
    assert await ended(container, project, view) is RunStatus.COMPLETED
    state = await container.services.views.revert(project.id, view.id, project.user)
    assert (state.schedule, state.view.current_snapshot, state.view.is_materialized) == (None, None, False)
    assert await container.schedules.find(view.id) is None
    with pytest.raises(NotMaterialized):
        await container.services.runs.run(project.id, view.id, project.user)


async def test_without_temporal_nothing_is_changed(container: Container, project: Project) -> None:
    view = await create(container, project, "v")
    away = Schedules(await connect("127.0.0.1:9", None, lazy=True))
    services = container.services
    views = ViewService(
        definitions=services.definitions,
        materialization=services.views._materialization,
        states=services.views._states,
        runs=services.runs,
        schedules=away,
        sync=services.views._schedule_sync,
        resumption=services.views._resumption,
        current=container.current,
    )
    with pytest.raises(TemporalUnavailable):
        await views.materialize(project.id, view.id, None, project.user)
    frequency = ViewUpdate(sync_frequency=SyncFrequency.HOUR_1)
    with pytest.raises(TemporalUnavailable):
        await views.update(project.id, view.id, frequency, project.user)
    after = await services.definitions.get(project.id, view.id)
    assert (after.sync_frequency, after.sync_frequency_set_at) == (None, view.sync_frequency_set_at)


async def test_a_generation_that_temporal_does_not_start_leaves_no_trace(
    container: Container, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = container.services
    views = [await create(container, project, name) for name in ("v", "w")]
    for view in views:
        await services.views.materialize(project.id, view.id, None, project.user, run=False)

    async def entries() -> list[Verb]:
        async with container.database.begin() as tx:
            _, found = await audit_log.page(tx, views[0].id, limit=20, offset=0)
        return [one.verb for one in found]

    before = await entries()
    away = RunWorkflows(await connect("127.0.0.1:9", None, lazy=True))
    start = services.generations._start
    monkeypatch.setattr(services.generations, "_start", dataclasses.replace(start, workflows=away))
    order = RefreshOrder(views=tuple(one.id for one in views))
    with pytest.raises(TemporalUnavailable):
        await services.generations.start(project.id, order, project.user)
    assert await entries() == before
    count, _ = await services.generations.page(project.id, view=None, status=None, limit=5, offset=0)
    assert count == 0
    monkeypatch.setattr(services.generations, "_start", start)
    await services.generations.start(project.id, order, project.user)
    assert Counter(await entries()) == Counter([*before, Verb.SYNC_TRIGGERED])


async def test_a_generation_that_the_server_does_not_have_yet_is_cancelled_before_it_begins(
    container: Container, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = container.services
    views = [await create(container, project, name) for name in ("v", "w")]
    for view in views:
        await services.views.materialize(project.id, view.id, None, project.user, run=False)
    start = services.generations._start
    late: list[tuple[Generation, str, str]] = []

    class Late(RunWorkflows):
        async def start_generation(self, generation: Generation, label: str, details: str) -> None:
            late.append((generation, label, details))

    unsent = Late(await connect("127.0.0.1:9", None, lazy=True))
    monkeypatch.setattr(services.generations, "_start", dataclasses.replace(start, workflows=unsent))
    order = RefreshOrder(views=tuple(one.id for one in views))
    generation_id = await services.generations.start(project.id, order, project.user)
    cancelled = await services.generations.cancel(project.id, generation_id)
    assert cancelled.generation.status is GenerationStatus.CANCELLED
    await start.workflows.start_generation(*late[0])
    await start.workflows.wait_for_generation(late[0][0].workflow_id, timedelta(seconds=60))
    state = await services.generations.get(project.id, generation_id)
    assert (state.generation.status, state.members) == (GenerationStatus.CANCELLED, ())


async def test_a_generation_whose_last_runs_ended_at_the_same_moment_is_not_cancelled(
    container: Container, project: Project
) -> None:
    """Each of two transactions still saw the other's run, and neither ended the generation."""
    view = await create(container, project, "v")
    await container.services.views.materialize(project.id, view.id, None, project.user, run=False)
    json = {"id": str(view.id), "latest_history_id": str(view.revision.id)}
    async with container.database.begin() as tx:
        run = await publishing.opened(tx, project.id, json)
        assert await run_plans.load_all(tx, run.workflow_run_id)
        await tx.execute(update(t.runs).where(t.runs.c.id == run.id).values(status="Completed", finished_at=func.now()))
    finish = FinishActivities(*[cast("Any", container.database)] * 6)
    request = GenerationRequest(generation_id=run.workflow_run_id, project_id=project.id)
    assert (await finish.summarize(request)).status is GenerationStatus.COMPLETED
    async with container.database.begin() as tx:
        assert await tx.scalar(select(func.count()).where(t.run_plans.c.run_id == run.id)) == 0


async def test_a_frequency_that_could_not_be_applied_is_restored_unless_it_has_changed_since(
    container: Container, project: Project
) -> None:
    definitions, materialization = container.services.definitions, container.services.views._materialization
    view = await create(container, project, "v")
    hourly = ViewUpdate(sync_frequency=SyncFrequency.HOUR_1)
    before, after = await materialization.set_timing(project.id, view.id, hourly, project.user)
    await materialization.restore_timing(after, before)
    assert (await definitions.get(project.id, view.id)).sync_frequency is None

    before, after = await materialization.set_timing(project.id, view.id, hourly, project.user)
    await materialization.set_timing(project.id, view.id, ViewUpdate(sync_frequency=SyncFrequency.HOUR_6), project.user)
    await materialization.restore_timing(after, before)
    assert (await definitions.get(project.id, view.id)).sync_frequency is SyncFrequency.HOUR_6


async def test_a_view_is_of_its_project_only(container: Container, project: Project) -> None:
    view = await create(container, project, "v")
    for foreign in (project.id + 1_000_000, 0):
        with pytest.raises(NotFound):
            await container.services.views.show(foreign, view.id)
        with pytest.raises(NotFound):
            await container.services.runs.history(foreign, view.id, 5)
    with pytest.raises(NotFound):
        await container.services.views.show(project.id, uuid4())


async def test_resuming_needs_an_id_and_passes_over_what_is_not_paused(container: Container, project: Project) -> None:
    views = container.services.views
    view = await create(container, project, "v")
    with pytest.raises(Invalid):
        await views.resume(project.id, [], project.user)
    assert await views.resume(project.id, [view.id, uuid4()], project.user) == []
    await views.materialize(project.id, view.id, None, project.user)
    assert await container.schedules.pause(view.id, "for now")
    assert await views.resume(project.id, [view.id], project.user) == [view.id]
    assert await views.resume(project.id, [view.id], project.user) == []
