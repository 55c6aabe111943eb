"""How fresh a view is to be: by its own schedule, after what it reads, or together with that."""

import asyncio
from pathlib import Path

import pytest
from temporalio.client import Client

from orchestrator.catalog.database import Database
from tests.generations.test_refreshing import PATH, finished, refreshed, saved, started, statuses
from tests.generations.test_ticks import COMPLETED, tick_ended, trigger
from tests.support.tenants import Json, Tenant, until

VIEWS = "/warehouse_saved_queries/"


async def chain(tenant: Tenant, sources: Path) -> tuple[Path, dict[str, Json]]:
    """A file, and three views that read one another, the first of them the file. All have a result."""
    path = sources / f"chain-{tenant.project_id}.csv"
    path.write_text("n\n1\n")
    await tenant.add_table("src", path, "CSVWithNames")
    views = await saved(tenant, raw="SELECT n FROM src", staged="SELECT n FROM raw", mart="SELECT n FROM staged")
    assert (await refreshed(tenant))["status"] == "Completed"
    return path, views


async def set_freshness(tenant: Tenant, view: Json, freshness: str, max_staleness: str | None = None) -> Json:
    return await tenant.call("PATCH", f"{VIEWS}{view['id']}/", {"freshness": freshness, "max_staleness": max_staleness})


async def generations(tenant: Tenant) -> list[Json]:
    found: list[Json] = (await tenant.call("GET", PATH))["results"]
    return found


async def test_without_more_a_schedule_refreshes_its_view_alone(
    tenant: Tenant, temporal: Client, sources: Path
) -> None:
    path, views = await chain(tenant, sources)
    path.write_text("n\n2\n")
    await trigger(temporal, views["mart"])
    assert await tick_ended(temporal, views["mart"]) is COMPLETED
    assert (await tenant.ended(views["mart"]["id"], 2))["status"] == "Skipped"
    assert await tenant.rows(views["mart"]) == [{"n": 1}]


async def test_with_upstream_a_schedule_first_refreshes_what_its_view_reads(
    tenant: Tenant, temporal: Client, sources: Path
) -> None:
    path, views = await chain(tenant, sources)
    shown = await set_freshness(tenant, views["mart"], "upstream")
    assert (shown["freshness"], shown["max_staleness"]) == ("upstream", None)
    path.write_text("n\n2\n")
    await trigger(temporal, views["mart"])
    assert await tick_ended(temporal, views["mart"]) is COMPLETED
    assert await tenant.rows(views["mart"]) == [{"n": 2}]
    newest = await tenant.call("GET", f"{PATH}{(await generations(tenant))[0]['id']}/")
    assert statuses(newest) == dict.fromkeys(views, "Completed")
    assert newest["trigger"] == "schedule"


async def test_what_is_fresh_enough_is_not_refreshed_first(
    tenant: Tenant, temporal: Client, database: Database, sources: Path
) -> None:
    path, views = await chain(tenant, sources)
    await set_freshness(tenant, views["mart"], "upstream", "1hour")
    async with database.begin() as tx:
        await tx.exec_driver_sql(
            f"UPDATE saved_queries SET data_as_of = data_as_of - interval '2 hours' WHERE id = '{views['raw']['id']}'"
        )
    path.write_text("n\n2\n")
    await trigger(temporal, views["mart"])
    assert await tick_ended(temporal, views["mart"]) is COMPLETED
    newest = await tenant.call("GET", f"{PATH}{(await generations(tenant))[0]['id']}/")
    assert statuses(newest) == {"mart": "Skipped", "raw": "Completed"}  # `staged` is young enough, so it stays


async def test_a_follower_is_refreshed_with_what_it_reads(tenant: Tenant, sources: Path) -> None:
    path, views = await chain(tenant, sources)
    for name in ("staged", "mart"):
        await set_freshness(tenant, views[name], "follow")
    path.write_text("n\n2\n")
    done = await finished(tenant, await started(tenant, "raw"))
    assert statuses(done) == dict.fromkeys(views, "Completed")
    assert await tenant.rows(views["mart"]) == [{"n": 2}]
    (first, second) = [await tenant.history(view["id"]) for view in (views["raw"], views["mart"])]
    assert first[0]["generation_id"] == second[0]["generation_id"]


async def test_a_run_of_one_view_takes_its_followers_along(tenant: Tenant, sources: Path) -> None:
    path, views = await chain(tenant, sources)
    await set_freshness(tenant, views["staged"], "follow")
    path.write_text("n\n2\n")
    await tenant.act(views["raw"]["id"], "run")
    # The run is there already, so that a client that waits for it does not take an older one for it.
    run = (await tenant.history(views["raw"]["id"]))[0]
    done = await finished(tenant, {"id": run["generation_id"]})
    assert statuses(done) == {"raw": "Completed", "staged": "Completed"}
    assert await tenant.rows(views["staged"]) == [{"n": 2}]
    assert await tenant.rows(views["mart"]) == [{"n": 1}]


async def test_a_follower_without_changes_does_not_run(tenant: Tenant, sources: Path) -> None:
    path, views = await chain(tenant, sources)
    await set_freshness(tenant, views["staged"], "follow")
    path.touch()
    done = await finished(tenant, await started(tenant, "raw"))
    assert statuses(done) == {"raw": "Skipped", "staged": "Skipped"}


async def test_a_tick_takes_followers_along(tenant: Tenant, temporal: Client, sources: Path) -> None:
    path, views = await chain(tenant, sources)
    for name in ("staged", "mart"):
        await tenant.call("PATCH", f"{VIEWS}{views[name]['id']}/", {"sync_frequency": "never", "freshness": "follow"})
    path.write_text("n\n2\n")
    await trigger(temporal, views["raw"])
    assert await tick_ended(temporal, views["raw"]) is COMPLETED
    assert await tenant.rows(views["mart"]) == [{"n": 2}]


async def test_freshness_is_shown_recorded_and_forgotten_with_the_materialization(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    assert (view["freshness"], view["max_staleness"]) == ("clock", None)
    body = {"freshness": "upstream", "max_staleness": "6hour"}
    shown = await tenant.call("POST", f"{VIEWS}{view['id']}/materialize/", body)
    assert (shown["freshness"], shown["max_staleness"]) == ("upstream", "6hour")
    await tenant.ended(view["id"])
    again = await tenant.call("POST", f"{VIEWS}{view['id']}/materialize/", {})
    assert (again["freshness"], again["max_staleness"]) == ("upstream", "6hour")
    changes = [
        change
        for entry in (await tenant.call("GET", f"{VIEWS}{view['id']}/activity/"))["results"]
        for change in entry["detail"]["changes"]
    ]
    assert [(one["before"], one["after"]) for one in changes if one["field"] == "freshness"] == [("clock", "upstream")]
    reverted = await tenant.call("POST", f"{VIEWS}{view['id']}/revert_materialization/")
    assert (reverted["freshness"], reverted["max_staleness"]) == ("clock", None)


@pytest.mark.parametrize("body", [{"freshness": "eager"}, {"max_staleness": "never"}, {"max_staleness": "2hour"}])
async def test_a_freshness_that_is_none_is_refused(tenant: Tenant, body: Json) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    refused = await tenant.error("PATCH", f"{VIEWS}{view['id']}/", body, status=400)
    assert refused["attr"] == next(iter(body))


async def test_a_follower_that_is_being_run_is_waited_for(tenant: Tenant, sources: Path) -> None:
    path, views = await chain(tenant, sources)
    await set_freshness(tenant, views["staged"], "follow")
    path.write_text("n\n2\n")
    asked = await asyncio.gather(started(tenant, "staged", force=True), started(tenant, "raw"))
    done = [await finished(tenant, one) for one in asked]
    assert {one["status"] for one in done} == {"Completed"}

    async def together() -> bool:
        return await tenant.rows(views["staged"]) == [{"n": 2}]

    await until(together, "the new row")
