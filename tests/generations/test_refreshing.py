"""A refresh of several views: in the order of the graph, pinned once, published together."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from orchestrator.catalog.database import Database
from tests.support.tenants import ENDLESS, PATIENCE, Json, Tenant, until

PATH = "/generations/"


async def started(tenant: Tenant, *views: str, direction: str = "none", expect: int = 202, **more: object) -> Json:
    select: Json = {"views": list(views), "direction": direction} if views else {"all": True}
    return await tenant.call("POST", PATH, {"select": select, **more}, expect=expect)


async def finished(tenant: Tenant, generation: Json) -> Json:
    async def ask() -> Json | None:
        found = await tenant.call("GET", f"{PATH}{generation['id']}/")
        return None if found["status"] == "Running" else found

    return await until(ask, "the end of a generation", PATIENCE)


async def refreshed(tenant: Tenant, *views: str, direction: str = "none", **more: Any) -> Json:
    return await finished(tenant, await started(tenant, *views, direction=direction, **more))


def statuses(generation: Json) -> dict[str, str]:
    return {one["name"]: one["run"]["status"] for one in generation["views"]}


async def saved(tenant: Tenant, **views: str) -> dict[str, Json]:
    """Materialized views that have not run."""
    made = {name: await tenant.create_view(name, sql) for name, sql in views.items()}
    for view in made.values():
        await tenant.act(view["id"], "materialize", {"run": False})
    return made


async def diamond(tenant: Tenant, sources: Path) -> dict[str, Json]:
    path = sources / f"diamond-{tenant.project_id}.csv"
    path.write_text("n\n1\n2\n3\n")
    await tenant.add_table("src", path, "CSVWithNames")
    return await saved(
        tenant,
        base="SELECT n FROM src",
        total="SELECT sum(n)::BIGINT AS s FROM base",
        number="SELECT count(*) AS c FROM base",
        both="SELECT s, c FROM total, number",
    )


async def test_a_graph_is_built_in_its_order_and_published_together(tenant: Tenant, sources: Path) -> None:
    views = await diamond(tenant, sources)
    done = await refreshed(tenant)
    assert (done["status"], done["view_count"], done["counts"]) == ("Completed", 4, {"Completed": 4})
    assert await tenant.rows(views["both"]) == [{"s": 6, "c": 3}]
    parents = {one["name"]: set(one["parents"]) for one in done["views"]}
    assert parents == {
        "base": set(),
        "total": {views["base"]["id"]},
        "number": {views["base"]["id"]},
        "both": {views["total"]["id"], views["number"]["id"]},
    }
    inputs = (await tenant.call("GET", f"/warehouse_saved_queries/{views['both']['id']}/snapshots/"))["results"][0]
    shown = {name: (await tenant.view(view["id"]))["current_snapshot_id"] for name, view in views.items()}
    assert {one["name"]: one["snapshot_id"] for one in inputs["inputs"]} == {
        "total": shown["total"],
        "number": shown["number"],
    }
    assert len({one["run"]["workflow_run_id"] for one in done["views"]}) == 1


async def test_nothing_runs_when_nothing_has_changed_and_all_of_it_when_forced(tenant: Tenant, sources: Path) -> None:
    views = await diamond(tenant, sources)
    await refreshed(tenant)
    before = {name: await tenant.view(view["id"]) for name, view in views.items()}
    again = await refreshed(tenant)
    assert (again["status"], again["counts"]) == ("Skipped", {"Skipped": 4})
    for name, view in views.items():
        after = await tenant.view(view["id"])
        assert after.pop("data_as_of") > before[name].pop("data_as_of")
        assert after == before[name]
    forced = await refreshed(tenant, force=True)
    assert (forced["status"], forced["counts"]) == ("Completed", {"Completed": 4})


async def test_only_what_a_change_reaches_runs(tenant: Tenant, sources: Path) -> None:
    views = await diamond(tenant, sources)
    await refreshed(tenant)
    (sources / f"diamond-{tenant.project_id}.csv").write_text("n\n3\n2\n2\n")  # as many rows
    done = await refreshed(tenant)
    assert statuses(done) == {"base": "Completed", "total": "Completed", "number": "Completed", "both": "Completed"}
    assert await tenant.rows(views["both"]) == [{"s": 7, "c": 3}]
    (sources / f"diamond-{tenant.project_id}.csv").write_text("n\n2\n3\n2\n")  # the same rows in another order
    done = await refreshed(tenant)
    assert statuses(done) == {"base": "Completed", "total": "Skipped", "number": "Skipped", "both": "Skipped"}
    assert done["status"] == "Completed"


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("none", {"total"}),
        ("upstream", {"base", "total"}),
        ("downstream", {"total", "both"}),
        ("both", {"base", "total", "both"}),
    ],
)
async def test_relatives_are_refreshed_as_asked(
    tenant: Tenant, sources: Path, direction: str, expected: set[str]
) -> None:
    views = await diamond(tenant, sources)
    await refreshed(tenant)
    done = await refreshed(tenant, "Total", direction=direction, force=True)
    assert set(statuses(done)) == expected
    assert done["select"] == {"views": [views["total"]["id"]], "direction": direction, "all": False}


async def test_alone_and_in_a_generation_a_view_has_the_same_inputs(tenant: Tenant, sources: Path) -> None:
    await diamond(tenant, sources)
    view = (await saved(tenant, mixed="SELECT src.n FROM src, total, number"))["mixed"]
    assert (await refreshed(tenant))["status"] == "Completed"
    for number in (2, 4):
        await tenant.act(view["id"], "run", {})
        assert (await tenant.ended(view["id"], number))["status"] == "Skipped"
        assert (await refreshed(tenant))["status"] == "Skipped"


async def test_a_failure_skips_what_is_below_it_and_nothing_else(tenant: Tenant) -> None:
    views = await saved(
        tenant,
        good="SELECT 1 AS n",
        bad="SELECT (SELECT error('no luck') FROM good) AS n",
        below="SELECT n FROM bad",
        beside="SELECT n FROM good",
    )
    done = await refreshed(tenant)
    assert statuses(done) == {"good": "Completed", "bad": "Failed", "below": "Skipped", "beside": "Completed"}
    assert done["status"] == "Partial"
    runs = {one["name"]: one["run"] for one in done["views"]}
    assert "no luck" in runs["bad"]["error"]
    assert runs["below"]["skipped_reason"] == '"bad" failed.'
    assert (await tenant.view(views["below"]["id"]))["current_snapshot_id"] is None


async def test_all_or_nothing_publishes_nothing_after_a_failure(tenant: Tenant) -> None:
    views = await saved(tenant, good="SELECT 1 AS n", bad="SELECT error('no luck') AS n", free="SELECT 2 AS n")
    done = await refreshed(tenant, publish="all_or_nothing")
    assert done["status"] == "Failed"
    assert statuses(done) == {"good": "Skipped", "bad": "Failed", "free": "Skipped"}
    for view in views.values():
        assert (await tenant.view(view["id"]))["current_snapshot_id"] is None
        assert tenant.files(view) == []


async def test_a_cancel_of_all_stops_every_query_and_publishes_nothing(tenant: Tenant) -> None:
    views = await saved(tenant, one="SELECT 1 AS n", slow=ENDLESS, below="SELECT slow.n FROM slow, one")
    generation = await started(tenant)
    await tenant.running(views["slow"]["id"])
    ended = await tenant.call("POST", f"{PATH}{generation['id']}/cancel/")
    # The component of `one` is that of `slow`, so it was not published.
    assert ended["status"] == "Cancelled"
    assert set(statuses(ended).values()) == {"Cancelled"}
    assert [tenant.files(view) for view in views.values()] == [[], [], []]
    await tenant.error("POST", f"{PATH}{generation['id']}/cancel/", status=400)


async def test_a_cancel_of_one_view_lets_the_others_go_on(tenant: Tenant) -> None:
    views = await saved(
        tenant, one="SELECT 1 AS n", slow=ENDLESS, below="SELECT s.n FROM slow s, one", beside="SELECT n FROM one"
    )
    generation = await started(tenant)
    await tenant.running(views["slow"]["id"])
    await tenant.act(views["slow"]["id"], "cancel")
    done = await finished(tenant, generation)
    assert statuses(done) == {"one": "Completed", "slow": "Cancelled", "below": "Skipped", "beside": "Completed"}
    assert {one["name"]: one["run"]["skipped_reason"] for one in done["views"]}["below"] == '"slow" was cancelled.'
    assert done["status"] == "Partial"


async def test_a_view_that_waits_can_be_cancelled_too(tenant: Tenant) -> None:
    views = await saved(tenant, slow=ENDLESS, below="SELECT n FROM slow", lower="SELECT n FROM below")
    generation = await started(tenant)
    await tenant.running(views["slow"]["id"])
    await tenant.act(views["below"]["id"], "cancel")
    shown = await tenant.call("GET", f"{PATH}{generation['id']}/")
    assert statuses(shown) == {"slow": "Running", "below": "Cancelled", "lower": "Skipped"}
    await tenant.call("POST", f"{PATH}{generation['id']}/cancel/")


async def test_a_run_of_a_view_that_a_generation_has_joins_it(tenant: Tenant) -> None:
    views = await saved(tenant, slow=ENDLESS, below="SELECT n FROM slow")
    generation = await started(tenant)
    await tenant.running(views["slow"]["id"])
    for view in views.values():
        assert (await tenant.act(view["id"], "run"))["status"] == "Running"
        assert [run["generation_id"] for run in await tenant.history(view["id"])] == [generation["id"]]
    joined = await started(tenant, "below")
    assert joined["id"] == generation["id"]
    await tenant.call("POST", f"{PATH}{generation['id']}/cancel/")


async def test_a_generation_waits_for_a_run_and_for_older_generations(tenant: Tenant) -> None:
    views = await saved(tenant, slow=ENDLESS, other="SELECT 1 AS n")
    await tenant.act(views["slow"]["id"], "run")
    await tenant.running(views["slow"]["id"])
    first, second = await started(tenant), await started(tenant, force=True)
    assert (await started(tenant))["id"] == first["id"], "one that waits is joined by the same request"
    await asyncio.sleep(0.5)
    for one in (first, second):
        shown = await tenant.call("GET", f"{PATH}{one['id']}/")
        assert (shown["status"], shown["started_at"], shown["views"]) == ("Running", None, [])
    await tenant.act(views["slow"]["id"], "cancel")
    await tenant.running(views["slow"]["id"])
    both = [await tenant.call("GET", f"{PATH}{one['id']}/") for one in (first, second)]
    assert [bool(one["started_at"]) for one in both] == [True, False]
    for one in (second, first):
        await tenant.call("POST", f"{PATH}{one['id']}/cancel/")


async def test_a_refresh_of_one_view_is_its_run(tenant: Tenant) -> None:
    view = (await saved(tenant, v="SELECT 1 AS n"))["v"]
    done = await refreshed(tenant, "v")
    run = (await tenant.history(view["id"]))[0]
    assert done["views"][0]["run"]["id"] == run["id"]
    assert done["workflow_id"] == run["workflow_id"] == f"materialize/{view['id']}"
    assert run["generation_id"] == done["id"]
    found = await tenant.call("GET", f"{PATH}?view=V")
    assert [one["id"] for one in found["results"]] == [done["id"]]


async def test_what_cannot_be_refreshed_is_refused(tenant: Tenant) -> None:
    await tenant.create_view("plain", "SELECT 1 AS n")
    assert (await tenant.error("POST", PATH, {"select": {}}, status=400))["attr"] == "select"
    assert (await tenant.error("POST", PATH, {}, status=400))["attr"] == "select"
    both = {"select": {"views": ["plain"], "all": True}}
    await tenant.error("POST", PATH, both, status=400)
    assert (await tenant.error("POST", PATH, {"select": {"views": ["plain"]}}, status=400))[
        "code"
    ] == "not_materialized"
    assert (
        "nothing_here"
        in (await tenant.error("POST", PATH, {"select": {"views": ["nothing_here"]}}, status=404))["detail"]
    )
    await tenant.error("GET", f"{PATH}{'0' * 8}-0000-0000-0000-{'0' * 12}/", status=404)


async def test_only_so_many_refreshes_may_wait(tenant: Tenant, database: Database) -> None:
    views = await saved(tenant, slow=ENDLESS, beside="SELECT 1 AS n")
    holding = await started(tenant)
    await tenant.running(views["slow"]["id"])
    waiting = await started(tenant)
    more = (
        "INSERT INTO generations (id, project_id, workflow_id, selection, publish, full_refresh, trigger, status) "
        "SELECT gen_random_uuid(), project_id, 'none', selection, publish, full_refresh, trigger, status "
        f"FROM generations CROSS JOIN generate_series(1, 99) WHERE id = '{waiting['id']}'"
    )
    async with database.begin() as tx:
        await tx.exec_driver_sql(more)
    refused = await tenant.error("POST", PATH, {"select": {"views": ["slow", "beside"]}}, status=429)
    assert refused["detail"] == "100 refreshes of this project wait for others. Cancel some of them."
    async with database.begin() as tx:
        await tx.exec_driver_sql(
            f"DELETE FROM generations WHERE project_id = {tenant.project_id} AND workflow_id = 'none'"
        )
    for one in (waiting, holding):
        await tenant.call("POST", f"{PATH}{one['id']}/cancel/")
