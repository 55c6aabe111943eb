"""Concurrent requests, many or two at the same moment: in any order, they leave nothing over and nothing half done.

`MATVIEW_RACE_ROUNDS` is how often each pair of requests is raced.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import httpx
import pytest
from temporalio.client import Client

from tests.contract.support import VIEWS, number_from_environment, run_is_open, schedule_of
from tests.support.tenants import Json, Tenant, until

ROUNDS = number_from_environment("MATVIEW_RACE_ROUNDS", 6)
MANY = 50
A_WHILE = pytest.mark.timeout(180 + 10 * ROUNDS)

# Takes a moment, so that another request can meet the run at any point.
BRIEF = "SELECT count(*) AS n FROM range(3000) a, range(3000) b"


async def _all_at_once(ask: Callable[[int], Awaitable[httpx.Response]]) -> list[httpx.Response]:
    return list(await asyncio.gather(*(ask(number) for number in range(MANY))))


async def test_of_fifty_edits_with_one_token_one_wins(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 0 AS n")
    path, token = f"{VIEWS}{view['id']}/", view["latest_history_id"]
    answers = await _all_at_once(
        lambda number: tenant.http.patch(
            path, json={"query": {"query": f"SELECT {number + 1} AS n"}, "edited_history_id": token}
        )
    )
    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: MANY - 1}
    (won,) = [answer.json() for answer in answers if answer.is_success]
    losers = {answer.json()["detail"] for answer in answers if not answer.is_success}
    assert losers == {"The query was modified by someone else."}
    now = await tenant.view(view["id"])
    assert (now["query"], now["latest_history_id"]) == (won["query"], won["latest_history_id"])
    journal = await tenant.call("GET", f"{VIEWS}{view['id']}/activity/")
    assert [entry["activity"] for entry in journal["results"]] == ["updated", "created"]


async def test_of_fifty_who_create_one_name_one_makes_a_row(tenant: Tenant) -> None:
    body = {"name": "v", "query": {"query": "SELECT 1 AS n"}}
    answers = await _all_at_once(lambda _: tenant.http.post(VIEWS, json=body))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: MANY - 1}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await tenant.call("GET", VIEWS))["count"] == 1


async def test_of_fifty_who_create_one_name_with_queries_of_their_own_one_wins(tenant: Tenant) -> None:
    answers = await _all_at_once(
        lambda number: tenant.http.post(VIEWS, json={"name": "v", "query": {"query": f"SELECT {number} AS n"}})
    )
    assert Counter(answer.status_code for answer in answers) == {201: 1, 400: MANY - 1}
    (listed,) = (await tenant.call("GET", VIEWS))["results"]
    (won,) = [answer.json() for answer in answers if answer.is_success]
    assert (await tenant.view(listed["id"]))["query"] == won["query"]


async def test_fifty_who_materialize_one_view_make_one_schedule_and_one_run(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    path = f"{VIEWS}{view['id']}/materialize/"
    answers = await _all_at_once(lambda _: tenant.http.post(path))
    assert {answer.status_code for answer in answers} == {200}
    await tenant.ended(view["id"])
    assert len(await tenant.history(view["id"])) == 1
    assert await schedule_of(temporal, view["id"])
    journal = await tenant.call("GET", f"{VIEWS}{view['id']}/activity/")
    assert [entry["activity"] for entry in journal["results"]] == ["materialization_enabled", "created"]


async def _race(tenant: Tenant, view: Json, *actions: tuple[str, str]) -> list[httpx.Response]:
    """The answers to requests made at the same moment. Asserts that none of them is a server error."""
    path = f"{VIEWS}{view['id']}/"
    requests = (tenant.http.request(method, path + action) for method, action in actions)
    answers = list(await asyncio.gather(*requests))
    for answer in answers:
        assert answer.status_code < 500, f"{answer.request.method} {answer.request.url}: {answer.text}"
    return answers


async def _nothing_runs(temporal: Client, view: Json) -> None:
    async def ask() -> bool:
        return not await run_is_open(temporal, view["id"])

    await until(ask, "the end of the last run")


@A_WHILE
async def test_after_a_run_met_a_deletion_nothing_is_left(tenant: Tenant, temporal: Client) -> None:
    for number in range(ROUNDS):
        view = await tenant.materialized(f"v{number}", BRIEF)
        ran, deleted = await _race(tenant, view, ("POST", "run/"), ("DELETE", ""))
        assert ran.status_code in {200, 404}
        assert deleted.status_code == 204
        await _nothing_runs(temporal, view)
        assert await schedule_of(temporal, view["id"]) is None, f"round {number}: a schedule of a deleted view"
        assert "Running" not in await tenant.recorded(view), f"round {number}: a run that never ends"
    assert (await tenant.call("GET", VIEWS))["count"] == 0


@A_WHILE
async def test_after_a_first_run_met_a_deletion_nothing_is_left(tenant: Tenant, temporal: Client) -> None:
    for number in range(ROUNDS):
        view = await tenant.create_view(f"v{number}", BRIEF)
        made, deleted = await _race(tenant, view, ("POST", "materialize/"), ("DELETE", ""))
        assert made.status_code in {200, 404}
        assert deleted.status_code == 204
        await _nothing_runs(temporal, view)
        assert await schedule_of(temporal, view["id"]) is None, f"round {number}: a schedule of a deleted view"
        assert "Running" not in await tenant.recorded(view), f"round {number}: a run that never ends"


@A_WHILE
async def test_a_cancel_that_meets_the_completion_tells_the_truth(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.materialized("v", BRIEF)
    for number in range(ROUNDS):
        before = (await tenant.history(view["id"]))[0]
        await tenant.act(view["id"], "run")
        await asyncio.sleep(0.02 * (number % 15))
        (answer,) = await _race(tenant, view, ("POST", "cancel/"))
        await _nothing_runs(temporal, view)
        history = await tenant.history(view["id"])
        assert history[1] == before, f"round {number}"
        if answer.status_code == 200:
            reported = (answer.json()["status"], history[0]["status"], history[0]["snapshot_id"])
            assert reported == ("Cancelled", "Cancelled", None), f"round {number}"
        else:
            assert answer.json()["detail"] == "Cannot cancel a query that is not running"
            assert history[0]["status"] == "Completed", f"round {number}"
        assert all(run["status"] != "Running" for run in history)


@A_WHILE
async def test_after_a_run_met_a_revert_nothing_is_left(tenant: Tenant, temporal: Client) -> None:
    for number in range(ROUNDS):
        view = await tenant.materialized(f"v{number}", BRIEF)
        ran, reverted = await _race(tenant, view, ("POST", "run/"), ("POST", "revert_materialization/"))
        assert ran.status_code in {200, 400}
        assert reverted.status_code == 200
        await _nothing_runs(temporal, view)
        assert await schedule_of(temporal, view["id"]) is None, f"round {number}: a schedule of a reverted view"
        assert all(run["status"] != "Running" for run in await tenant.history(view["id"])), f"round {number}"
        now = await tenant.view(view["id"])
        assert not now["is_materialized"]
        empty = ("sync_frequency", "last_run_at", "latest_error", "status", "row_count", "current_snapshot_id")
        assert {now[field] for field in empty} == {None}, f"round {number}"


@A_WHILE
async def test_after_materializing_met_a_revert_the_schedule_is_what_the_view_says(
    tenant: Tenant, temporal: Client
) -> None:
    view = await tenant.create_view("v", BRIEF)
    for number in range(ROUNDS):
        await _race(tenant, view, ("POST", "materialize/"), ("POST", "revert_materialization/"))
        await _nothing_runs(temporal, view)
        now, schedule = await tenant.view(view["id"]), await schedule_of(temporal, view["id"])
        assert now["is_materialized"] == (schedule is not None), f"round {number}"
        assert all(run["status"] != "Running" for run in await tenant.history(view["id"])), f"round {number}"


@A_WHILE
async def test_whoever_sees_a_run_end_and_asks_for_another_gets_another(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    for number in range(2, ROUNDS + 2):
        await tenant.act(view["id"], "run")
        assert (await tenant.ended(view["id"], min(number, 100)))["status"] == "Completed"
    seen = await tenant.history(view["id"])
    assert len(seen) == min(ROUNDS + 1, 100)
