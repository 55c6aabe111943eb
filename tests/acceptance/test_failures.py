"""Faults of workers, servers and the whole machine around a run, on a stack beside the one that other tests use."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from orchestrator.devstack.stack import DevStack
from orchestrator.model.errors import TemporalUnavailable
from orchestrator.model.run import RunRequest
from orchestrator.temporal import contract
from orchestrator.temporal.client import connect
from orchestrator.temporal.run_workflows import RunWorkflows, single_run
from orchestrator.temporal.schedules import Schedules
from tests.contract.support import temporal_of
from tests.support.operator import Operator, a_flaky_view
from tests.support.tenants import ENDLESS, Tenant, a_tenant, dev_stack, until, write_parquet


@pytest.fixture(scope="module")
async def breakable(session_folder: Path, sources: Path) -> AsyncIterator[DevStack]:
    async with dev_stack(session_folder / "breakable", sources) as running:
        yield running


@pytest.fixture
async def own_stack(breakable: DevStack) -> AsyncIterator[DevStack]:
    """A stack that the test may break. Parts that the test left stopped are started again for the next one."""
    yield breakable
    for name in ("postgres", "temporal", "api", "worker"):
        if name not in breakable.info["pids"]:
            await breakable.start(name)


# A few seconds of work on any machine, so that a worker can be killed while it runs.
LONG = "SELECT a.n % 97 AS k, sum(sqrt(a.n * b.n)) AS s FROM range(40000) a(n), range(6000) b(n) GROUP BY 1"


async def test_a_run_whose_worker_was_killed_is_completed_by_the_next_one(own_stack: DevStack) -> None:
    async with a_tenant(own_stack) as tenant:
        view = await tenant.create_view("v", LONG)
        await tenant.act(view["id"], "materialize")
        await tenant.running(view["id"])

        own_stack.kill("worker")  # with SIGKILL; the stack starts another

        run = await tenant.ended(view["id"])
        assert run["status"] == "Completed"
        assert len(await tenant.history(view["id"])) == 1
        (file,) = tenant.files(view)
        assert file.parent.name == f"{run['id']}-2", "the attempt that published is the second"
        assert tenant.staged() == [], "the dead attempt left nothing"
        assert len(await tenant.rows(view)) == 97


async def test_a_run_whose_worker_was_stopped_goes_on_with_the_next_one(own_stack: DevStack) -> None:
    async with a_tenant(own_stack) as tenant:
        view = await tenant.create_view("v", LONG)
        await tenant.act(view["id"], "materialize")
        await tenant.running(view["id"])
        await own_stack.restart("worker")
        assert (await tenant.ended(view["id"]))["status"] == "Completed"
        assert len(tenant.files(view)) == 1
        assert tenant.staged() == []


async def test_a_tick_that_had_fired_before_a_rollback_does_not_undo_it(own_stack: DevStack) -> None:
    async with a_tenant(own_stack) as tenant:
        view = await tenant.materialized("v", "SELECT 1 AS n")
        first = view["current_snapshot_id"]
        await tenant.act(view["id"], "run")
        await tenant.ended(view["id"], 2)
        await own_stack.stop("worker")
        client = await connect(own_stack.info["temporal_address"], None)
        schedule = client.get_schedule_handle(contract.schedule_id(UUID(view["id"])))
        await schedule.trigger()

        async def fired() -> bool:
            return bool((await schedule.describe()).info.running_actions)

        await until(fired, "a tick that no worker has begun")
        rolled_back = await tenant.act(view["id"], "rollback", {"snapshot_id": first})
        assert (rolled_back["current_snapshot_id"], rolled_back["schedule_paused"]) == (first, True)
        await own_stack.start("worker")

        async def over() -> bool:
            return not (await schedule.describe()).info.running_actions

        await until(over, "the tick to end")
        await tenant.ended(view["id"], 2)
        assert (await tenant.view(view["id"]))["current_snapshot_id"] == first


async def test_everything_is_there_after_a_stop_and_a_start_and_nothing_beside_it(
    session_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = session_folder / "again"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    async with dev_stack(home) as stack:
        first = stack.info
        async with a_tenant(stack) as tenant:
            view = await tenant.materialized("v", "SELECT 42 AS n")
            history, token, project_id = await tenant.history(view["id"]), tenant.token, tenant.project_id
    async with dev_stack(home) as stack:
        assert (stack.info["api_key"], stack.info["project_id"]) == (first["api_key"], first["project_id"])
        async with a_tenant(stack) as other:
            url = f"{stack.info['api_url']}/api/projects/{project_id}"
            other.http.base_url = url
            other.http.headers["Authorization"] = f"Bearer {token}"
            tenant = Tenant(project_id, token, other.http, other.database_url, other.data_dir, other.temporal_address)
            assert await tenant.view(view["id"]) == view, "the next scheduled time too"
            assert await tenant.history(view["id"]) == history
            assert await tenant.rows(view) == [{"n": 42}]
            await tenant.act(view["id"], "run")
            assert (await tenant.ended(view["id"], 2))["status"] == "Completed"
    assert list(tmp_path.iterdir()) == []


async def test_while_temporal_is_away_nothing_is_half_done_and_reading_still_works(own_stack: DevStack) -> None:
    async with a_tenant(own_stack) as tenant:
        plain = await tenant.create_view("plain", "SELECT 1 AS n")
        kept = await tenant.materialized("kept", "SELECT 1 AS n")
        await own_stack.stop("temporal")

        for view, action in ((plain, "materialize"), (kept, "run"), (kept, "cancel"), (kept, "materialize")):
            path = f"/warehouse_saved_queries/{view['id']}/{action}/"
            refused = await tenant.error("POST", path, status=503)
            assert (refused["type"], refused["code"]) == ("server_error", "temporal_unavailable")
        assert (await tenant.http.post(path)).headers["Retry-After"]
        assert await tenant.view(plain["id"]) == plain
        while_away = await tenant.view(kept["id"])
        assert while_away == {**kept, "next_run_at": None, "schedule_paused": None}
        assert len(await tenant.history(kept["id"])) == 1
        new = await tenant.create_view("new", "SELECT 2 AS n")

        await own_stack.start("temporal")
        assert (await until(lambda: _materialize(tenant, plain["id"]), "Temporal to be back"))["is_materialized"]
        await tenant.ended(plain["id"])
        assert (await tenant.view(new["id"]))["status"] is None


async def test_an_edit_while_temporal_is_away_is_saved_and_the_next_success_lifts_the_pause(
    own_stack: DevStack, sources: Path
) -> None:
    async with a_tenant(own_stack) as tenant:
        flaky = await a_flaky_view(tenant, sources)
        await flaky.failed_before(4)
        await Operator(await temporal_of(own_stack)).tick(flaky.view_id)
        assert await flaky.is_paused()
        await own_stack.stop("temporal")
        change = {"query": {"query": "SELECT 1 AS a"}, "soft_update": True}
        edited = await tenant.call("PATCH", f"/warehouse_saved_queries/{flaky.view_id}/", change)
        assert edited["query"] == change["query"]

        await own_stack.start("temporal")
        # The schedule is still paused: Temporal was away when the edit would have lifted the pause.
        assert await until(flaky.is_paused, "Temporal to be back")
        assert (await flaky.run())["status"] == "Completed"
        assert not await flaky.is_paused()


async def _materialize(tenant: Tenant, view_id: str) -> dict[str, object] | None:
    answer = await tenant.http.post(f"/warehouse_saved_queries/{view_id}/materialize/")
    body: dict[str, object] = answer.json()
    return body if answer.status_code == 200 else None


async def test_while_postgresql_is_away_every_answer_is_503_and_a_run_waits_for_it(own_stack: DevStack) -> None:
    async with a_tenant(own_stack) as tenant:
        view = await tenant.create_view("v", LONG)
        await tenant.act(view["id"], "materialize")
        await tenant.running(view["id"])
        await own_stack.stop("postgres")

        for method, path in (
            ("GET", "/warehouse_saved_queries/"),
            ("GET", f"/warehouse_saved_queries/{view['id']}/"),
            ("POST", f"/warehouse_saved_queries/{view['id']}/run/"),
        ):
            refused = await tenant.error(method, path, status=503)
            assert refused["code"] == "catalog_unavailable"
            assert "Traceback" not in refused["detail"]
        ready = await tenant.http.get(f"{own_stack.info['api_url']}/readyz")
        assert ready.status_code == 503
        assert (await tenant.http.get(f"{own_stack.info['api_url']}/livez")).status_code == 200

        await own_stack.start("postgres")
        assert (await tenant.ended(view["id"]))["status"] == "Completed"
        assert len(await tenant.history(view["id"])) == 1
        assert len(tenant.files(view)) == 1


async def test_a_run_that_no_worker_takes_can_be_seen_and_is_taken_up_later(own_stack: DevStack) -> None:
    async with a_tenant(own_stack) as tenant:
        view = await tenant.create_view("v", "SELECT 1 AS n")
        await own_stack.stop("worker")
        assert (await tenant.act(view["id"], "materialize"))["status"] == "Running"
        (run,) = await tenant.history(view["id"])
        assert (run["status"], run["progress"]) == ("Running", None)
        await own_stack.start("worker")
        assert (await tenant.ended(view["id"]))["status"] == "Completed"


async def test_an_input_that_vanished_fails_the_run_and_is_named(stack: DevStack, sources: Path) -> None:
    async with a_tenant(stack) as tenant:
        path = write_parquet(sources / "vanishing" / "t.parquet", a=[1])
        await tenant.add_table("t", path)
        view = await tenant.materialized("v", "SELECT a FROM t")
        await asyncio.to_thread(path.unlink)
        await tenant.act(view["id"], "run")
        run = await tenant.ended(view["id"], 2)
        assert run["status"] == "Failed"
        assert '"t"' in run["error"]
        assert await tenant.rows(view) == [{"a": 1}]


async def test_a_query_that_is_refused_memory_fails_alone(stack: DevStack) -> None:
    async with a_tenant(stack) as tenant:
        hungry = await tenant.create_view("hungry", "SELECT list(i) AS l FROM range(300000000) t(i)")
        other = await tenant.create_view("other", ENDLESS)
        await tenant.act(other["id"], "materialize")
        await tenant.running(other["id"])
        await tenant.act(hungry["id"], "materialize")
        run = await tenant.ended(hungry["id"])
        assert run["status"] == "Failed"
        assert (await tenant.view(other["id"]))["status"] == "Running"
        await tenant.act(other["id"], "cancel")


async def test_a_store_that_fails_keeps_nobody_from_cancelling(own_stack: DevStack) -> None:
    async with a_tenant(own_stack) as tenant:
        view = await tenant.create_view("v", ENDLESS)
        await tenant.act(view["id"], "materialize")
        await tenant.running(view["id"])
        staging = tenant.data_dir / "staging"
        aside = staging.rename(staging.with_name("aside"))
        staging.write_text("a file where a folder should be")
        try:
            assert (await tenant.act(view["id"], "cancel"))["status"] == "Cancelled"
        finally:
            staging.unlink()
            aside.rename(staging)


async def test_a_namespace_that_does_not_exist_says_nothing_about_runs(own_stack: DevStack) -> None:
    async with a_tenant(own_stack) as tenant:
        view = await tenant.create_view("v", ENDLESS)
        await tenant.act(view["id"], "materialize")
        await tenant.running(view["id"])
        client = await connect(own_stack.info["temporal_address"], "another", lazy=True)
        with pytest.raises(TemporalUnavailable, match="namespace"):
            await RunWorkflows(client).find_outcome(single_run(UUID(view["id"]), uuid4()))
        with pytest.raises(TemporalUnavailable, match="namespace"):
            await Schedules(client).find(UUID(view["id"]))
        assert (await tenant.act(view["id"], "cancel"))["status"] == "Cancelled"


async def test_a_run_that_was_terminated_unseen_is_over_once_the_next_begins(own_stack: DevStack) -> None:
    async with a_tenant(own_stack) as tenant:
        view = await tenant.create_view("v", ENDLESS)
        await tenant.act(view["id"], "materialize")
        await tenant.running(view["id"])
        client = await connect(own_stack.info["temporal_address"], None)
        handle = client.get_workflow_handle(contract.run_workflow_id(UUID(view["id"])))
        await handle.terminate(reason="nobody looks")
        following = await client.start_workflow(
            contract.REFRESH,
            RunRequest(saved_query_id=UUID(view["id"])),
            id=handle.id,
            task_queue=contract.TASK_QUEUE,
        )

        async def begun() -> bool:
            return bool((await following.describe()).raw_description.pending_activities)

        await until(begun, "the query of the second run")
        assert await tenant.recorded(view) == ["Cancelled", "Running"]
        (listed,) = (await tenant.call("GET", "/warehouse_saved_queries/"))["results"]
        assert listed["status"] == "Running"
        assert [run["status"] for run in await tenant.history(view["id"])] == ["Running", "Cancelled"]
        await tenant.act(view["id"], "cancel")
