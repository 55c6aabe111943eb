"""Cancels of views in a generation that waits for another run, so that it has no runs yet."""

import asyncio
import time
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import CancelledError

from orchestrator.catalog import generations, tables as t, views_to_run
from orchestrator.catalog.database import Database
from orchestrator.model.base import now
from orchestrator.model.generation import CancelledView, Generation, GenerationStatus, PublishMode, Selection
from orchestrator.model.run import RunRequest, RunStatus, Trigger
from orchestrator.model.tick import Tick
from orchestrator.model.view_graph import ViewGraph, ViewNode
from orchestrator.services.early_cancels import early_ends
from orchestrator.services.ticks import Ticks
from orchestrator.temporal import contract
from orchestrator.temporal.run_workflows import RunWorkflows
from tests.generations.test_refreshing import PATH, finished, saved, started, statuses
from tests.support.tenants import ENDLESS, Json, Tenant, until


async def held(tenant: Tenant, **views: str) -> dict[str, Json]:
    """Views, and one more that runs until it is stopped."""
    made = await saved(tenant, slow=ENDLESS, **views)
    await tenant.act(made["slow"]["id"], "run")
    await tenant.running(made["slow"]["id"])
    return made


async def waiting(tenant: Tenant, generation: Json) -> Json:
    """The generation, once it waits for another run."""

    async def ask() -> Json | None:
        found = await tenant.call("GET", f"{PATH}{generation['id']}/")
        assert (found["status"], found["started_at"], found["views"]) == ("Running", None, [])
        return found

    return await until(ask, "a generation that waits")


async def test_a_generation_of_one_is_cancelled_before_its_run_is_recorded(
    tenant: Tenant, temporal: Client, database: Database
) -> None:
    view_id = UUID((await saved(tenant, slow=ENDLESS))["slow"]["id"])
    request = RunRequest(saved_query_id=view_id, label="slow", trigger=Trigger.API)
    workflow_id = contract.run_workflow_id(view_id)
    async with database.begin() as locked:
        await views_to_run.lock(locked, [view_id])  # until this ends, the workflow cannot begin
        started_run = await temporal.start_workflow(
            contract.REFRESH, request, id=workflow_id, task_queue=contract.TASK_QUEUE
        )
        generation_id = UUID(started_run.result_run_id)
        async with database.begin() as tx:
            await generations.ensure_single(tx, generation_id, tenant.project_id, request, workflow_id)
        cancelling = asyncio.create_task(tenant.call("POST", f"{PATH}{generation_id}/cancel/"))
        await asyncio.sleep(1)
    assert (await cancelling)["status"] == "Cancelled"
    (run,) = await tenant.history(str(view_id))
    assert run["status"] == "Cancelled"


@pytest.mark.parametrize(("act", "code"), [("deleted", "deleted"), ("revert_materialization", "reverted")])
async def test_a_run_that_begins_after_its_view_is_gone_is_cancelled_as_one_that_had_begun_is(
    tenant: Tenant, temporal: Client, database: Database, act: str, code: str
) -> None:
    view = (await saved(tenant, one="SELECT 1 AS n"))["one"]
    if act == "deleted":
        await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/", {"deleted": True})
    else:
        await tenant.act(view["id"], act)
    request = RunRequest(saved_query_id=UUID(view["id"]), label="one", trigger=Trigger.SCHEDULE)
    begun = await temporal.start_workflow(
        contract.REFRESH, request, id=contract.run_workflow_id(request.saved_query_id), task_queue=contract.TASK_QUEUE
    )
    with pytest.raises(WorkflowFailureError) as failure:
        await begun.result()
    assert isinstance(failure.value.cause, CancelledError)
    async with database.begin() as tx:
        runs = (await tx.execute(select(t.runs).where(t.runs.c.saved_query_id == request.saved_query_id))).all()
        generation = await generations.find(tx, tenant.project_id, UUID(begun.result_run_id))
    assert [(run.status, run.error_code) for run in runs] == [(RunStatus.CANCELLED, code)]
    assert generation is not None
    assert generation.status is GenerationStatus.CANCELLED


async def test_a_view_that_is_cancelled_while_its_generation_waits_is_cancelled_in_it(tenant: Tenant) -> None:
    views = await held(
        tenant, one="SELECT 1 AS n", below="SELECT n FROM one", lower="SELECT n FROM below", beside="SELECT 2 AS n"
    )
    generation = await waiting(tenant, await started(tenant))
    shown = await tenant.act(views["one"]["id"], "cancel")
    assert shown["name"] == "one"
    assert (await waiting(tenant, generation))["status"] == "Running"
    for name in ("one", "below", "lower"):  # those below it do not run either
        refused = await tenant.error("POST", f"/warehouse_saved_queries/{views[name]['id']}/cancel/", status=400)
        assert refused["code"] == "not_running"
    activity = await tenant.call("GET", f"/warehouse_saved_queries/{views['one']['id']}/activity/")
    assert [entry["activity"] for entry in activity["results"]].count("sync_cancelled") == 1
    await tenant.act(views["slow"]["id"], "cancel")
    await tenant.running(views["slow"]["id"])
    await tenant.act(views["slow"]["id"], "cancel")
    done = await finished(tenant, generation)
    assert statuses(done) == {
        "slow": "Cancelled",
        "one": "Cancelled",
        "below": "Skipped",
        "lower": "Skipped",
        "beside": "Completed",
    }
    reasons = {one["name"]: one["run"]["skipped_reason"] for one in done["views"]}
    assert reasons["below"] == reasons["lower"] == '"one" was cancelled.'
    assert (await tenant.view(views["one"]["id"]))["status"] == "Cancelled"
    assert await tenant.rows(views["beside"]) == [{"n": 2}]


async def test_a_generation_does_not_wait_for_the_runs_of_views_that_are_cancelled_in_it(tenant: Tenant) -> None:
    views = await held(tenant, one="SELECT 3 AS n", other="SELECT 1 AS n", third="SELECT 2 AS n")
    first = await waiting(tenant, await started(tenant, "slow", "other"))
    second = await waiting(tenant, await started(tenant, "other", "one"))
    await tenant.act(views["other"]["id"], "cancel")  # in both
    done = await finished(tenant, second)
    assert statuses(done) == {"other": "Cancelled", "one": "Completed"}
    third = await finished(tenant, await started(tenant, "other", "third"))
    assert statuses(third) == {"other": "Completed", "third": "Completed"}
    assert (await tenant.call("GET", f"{PATH}{first['id']}/"))["status"] == "Running"
    await tenant.call("POST", f"{PATH}{first['id']}/cancel/")
    await tenant.act(views["slow"]["id"], "cancel")


async def test_a_generation_of_which_nothing_is_left_does_not_wait_for_an_older_one(tenant: Tenant) -> None:
    views = await held(tenant, one="SELECT 1 AS n", below="SELECT one.n FROM one, slow")
    older = await waiting(tenant, await started(tenant, "slow", "below"))
    generation = await waiting(tenant, await started(tenant, "one", "below"))
    await tenant.act(views["one"]["id"], "cancel")
    done = await finished(tenant, generation)
    assert done["status"] == "Cancelled"
    assert statuses(done) == {"one": "Cancelled", "below": "Skipped"}
    assert (await tenant.view(views["slow"]["id"]))["status"] == "Running"
    await tenant.call("POST", f"{PATH}{older['id']}/cancel/")
    await tenant.act(views["slow"]["id"], "cancel")


async def test_all_or_nothing_is_nothing_after_the_cancel_of_one(tenant: Tenant) -> None:
    views = await held(tenant, one="SELECT 1 AS n")
    generation = await waiting(tenant, await started(tenant, publish="all_or_nothing"))
    await tenant.act(views["one"]["id"], "cancel")
    await tenant.act(views["slow"]["id"], "cancel")
    done = await finished(tenant, generation)
    assert (done["status"], statuses(done)) == ("Cancelled", {"one": "Cancelled", "slow": "Skipped"})


async def test_a_request_does_not_join_a_generation_in_which_a_view_was_cancelled(tenant: Tenant) -> None:
    views = await held(tenant, one="SELECT 1 AS n")
    first = await waiting(tenant, await started(tenant))
    assert (await started(tenant))["id"] == first["id"]
    await tenant.act(views["one"]["id"], "cancel")
    second = await started(tenant)
    assert second["id"] != first["id"]
    for one in (second, first):
        await tenant.call("POST", f"{PATH}{one['id']}/cancel/")
    await tenant.act(views["slow"]["id"], "cancel")


async def test_a_run_of_a_view_after_its_cancel_is_the_newest(tenant: Tenant) -> None:
    views = await held(tenant, one="SELECT 1 AS n")
    generation = await waiting(tenant, await started(tenant))
    await tenant.act(views["one"]["id"], "cancel")
    await tenant.act(views["one"]["id"], "run")
    assert (await tenant.ended(views["one"]["id"]))["status"] == "Completed"
    await tenant.act(views["slow"]["id"], "cancel")
    await tenant.running(views["slow"]["id"])
    await tenant.act(views["slow"]["id"], "cancel")
    assert statuses(await finished(tenant, generation))["one"] == "Cancelled"
    assert [run["status"] for run in await tenant.history(views["one"]["id"])] == ["Completed", "Cancelled"]
    assert (await tenant.view(views["one"]["id"]))["status"] == "Completed"


async def test_a_cancelled_tick_cancels_its_view_in_a_generation_that_waits(
    tenant: Tenant, temporal: Client, database: Database
) -> None:
    views = await held(tenant, one="SELECT 1 AS n", below="SELECT n FROM one", beside="SELECT 2 AS n")
    generation = await waiting(tenant, await started(tenant))
    tick = Tick(saved_query_id=UUID(views["one"]["id"]), workflow_id="t", workflow_run_id=uuid4())
    async with database.begin() as tx:
        await tx.exec_driver_sql(
            "INSERT INTO ticks (id, workflow_id, project_id, saved_query_id, generation_id) VALUES "
            f"('{tick.workflow_run_id}', 't', {tenant.project_id}, '{tick.saved_query_id}', '{generation['id']}')"
        )
    await Ticks(database, RunWorkflows(temporal)).leave(tick)
    await tenant.act(views["slow"]["id"], "cancel")
    await tenant.running(views["slow"]["id"])
    await tenant.act(views["slow"]["id"], "cancel")
    ended = statuses(await finished(tenant, generation))
    assert ended == {"slow": "Cancelled", "one": "Cancelled", "below": "Skipped", "beside": "Completed"}


def test_a_cancel_in_a_very_large_generation_is_decided_at_once() -> None:
    # A transaction that holds the project does it. With a search in the list of members it took minutes.
    chain = [uuid4() for _ in range(5_000)]
    above = [(), *((one,) for one in chain[:-1])]
    graph = ViewGraph({one: ViewNode(str(one), True, True, views) for one, views in zip(chain, above, strict=True)})
    for publish in PublishMode:
        generation = Generation(
            id=uuid4(),
            project_id=1,
            workflow_id="w",
            selection=Selection(all=True, cancelled=(CancelledView(view=chain[1], at=now()),)),
            publish=publish,
            full_refresh=False,
            trigger=Trigger.API,
            status=GenerationStatus.RUNNING,
            created_at=now(),
        )
        began = time.monotonic()
        ends = early_ends(generation, graph, chain)
        assert time.monotonic() - began < 10
        assert {one.status for view, one in ends.items() if view != chain[1]} == {RunStatus.SKIPPED}
        assert len(ends) == (5_000 if publish is PublishMode.ALL_OR_NOTHING else 4_999)
