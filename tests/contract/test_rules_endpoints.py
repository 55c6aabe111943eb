"""The rules of listing, saving, changing and deleting views, and of their lineage."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from orchestrator.devstack.stack import DevStack
from tests.contract.support import VIEWS, schedule_of, temporal_of
from tests.support.tenants import Json, Tenant, write_parquet

ONE = "SELECT 1 AS n"
CONFLICT = "The query was modified by someone else."


async def patch(tenant: Tenant, view: Json, **fields: object) -> Json:
    return await tenant.call("PATCH", f"{VIEWS}{view['id']}/", fields)


async def refused(tenant: Tenant, view: Json, **fields: object) -> Json:
    return await tenant.error("PATCH", f"{VIEWS}{view['id']}/", fields, status=400)


async def related(tenant: Tenant, view: Json, which: str, body: object = None) -> list[str]:
    answer = await tenant.call("POST", f"{VIEWS}{view['id']}/{which}/", body)
    assert set(answer) == {which, "names"}
    assert set(answer["names"]) == set(answer[which])
    found: list[str] = answer[which]
    assert len(found) == len(set(found)), "each once"
    return found


# --- list -------------------------------------------------------------------------------------------------------------


async def test_a_list_has_pages_of_a_hundred_unless_asked_for_others_and_never_more_than_a_thousand(
    tenant: Tenant,
) -> None:
    await asyncio.gather(*(tenant.create_view(f"v{number}", ONE) for number in range(101)))
    first = await tenant.call("GET", VIEWS)
    assert set(first) == {"count", "next", "previous", "results"}
    assert (first["count"], len(first["results"]), first["previous"]) == (101, 100, None)
    last = (await tenant.http.get(first["next"])).json()
    assert (last["count"], len(last["results"]), last["next"]) == (101, 1, None)
    assert (await tenant.http.get(last["previous"])).json() == first
    whole = await tenant.call("GET", f"{VIEWS}?page_size=1000")
    assert whole["results"] == first["results"] + last["results"]
    moments = [view["created_at"] for view in whole["results"]]
    assert moments == sorted(moments, reverse=True), "newest first"
    await tenant.error("GET", f"{VIEWS}?page_size=1001", status=400)


@pytest.mark.parametrize("page", ["2", "1000000", "9" * 30])
async def test_a_page_past_the_end_is_404(tenant: Tenant, page: str) -> None:
    view = await tenant.create_view("v", ONE)
    for path in (VIEWS, f"{VIEWS}{view['id']}/activity/", "/warehouse_tables/"):
        said = await tenant.error("GET", f"{path}?page={page}", status=404)
        assert (said["type"], said["detail"]) == ("not_found", "Invalid page.")


async def test_the_first_page_of_nothing_is_empty(tenant: Tenant) -> None:
    empty: Json = {"count": 0, "next": None, "previous": None, "results": []}
    assert await tenant.call("GET", VIEWS) == empty
    assert await tenant.call("GET", f"{VIEWS}?page=1&search=nothing") == empty


async def test_a_search_is_for_a_part_of_the_name_in_any_case_and_of_nothing_else(tenant: Tenant) -> None:
    await tenant.create_view("Sales.Daily", "SELECT 1 AS needle", description="needle")
    await tenant.create_view("sales_x", ONE)
    for part, count in (("SALES", 2), ("s.d", 1), ("_", 1), ("%", 0), ("needle", 0), ("\\", 0), ("é", 0), ("", 2)):
        answer = await tenant.http.get(VIEWS, params={"search": part})
        assert answer.json()["count"] == count, part


async def test_deleted_views_are_in_no_list(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ONE)
    await tenant.call("DELETE", f"{VIEWS}{view['id']}/", expect=204)
    assert (await tenant.call("GET", VIEWS))["count"] == 0


# --- create -----------------------------------------------------------------------------------------------------------


async def test_creating_schedules_nothing_and_runs_nothing(stack: DevStack, tenant: Tenant) -> None:
    view = await tenant.create_view("v", ONE, sync_frequency="1hour")
    assert (view["sync_frequency"], view["is_materialized"], view["next_run_at"]) == (None, False, None)
    assert await schedule_of(await temporal_of(stack), view["id"]) is None
    assert await tenant.history(view["id"]) == []


async def test_creating_a_name_that_a_live_view_has_is_an_update_and_200(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ONE)
    same = await tenant.create_view("v", ONE, expect=200, description="said later", edited_history_id="nobody's")
    assert same == view | {"description": "said later"}, "the token matters to a changed query only"
    body = {"name": "v", "query": {"query": "SELECT 2 AS n"}, "description": "not kept"}
    assert (await tenant.error("POST", VIEWS, body, status=400))["detail"] == CONFLICT
    assert await tenant.view(view["id"]) == same
    await tenant.create_view("v", "SELECT 2 AS n", expect=200, edited_history_id=view["latest_history_id"])


# --- update -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_a_changed_query_needs_the_latest_history_id_however_that_is_spelled(tenant: Tenant, method: str) -> None:
    view = await tenant.create_view("v", ONE)
    path = f"{VIEWS}{view['id']}/"
    spellings: list[Callable[[str], str]] = [str.upper, lambda token: token.replace("-", ""), str]
    for number, spelled in enumerate(spellings):
        body: Json = {"query": {"query": f"SELECT {number + 2} AS n"}}
        for token in ({}, {"edited_history_id": None}, {"edited_history_id": ""}, {"edited_history_id": str(uuid4())}):
            said = await tenant.error(method, path, body | token, status=400)
            assert (said["detail"], said["type"]) == (CONFLICT, "validation_error")
        token = view["latest_history_id"]
        changed = await tenant.call(method, path, body | {"edited_history_id": spelled(token)})
        assert (changed["query"], changed["status"]) == (body["query"], "Modified")
        assert str(UUID(changed["latest_history_id"])) == changed["latest_history_id"] != token
        stale = {"query": {"query": ONE}, "edited_history_id": token}
        assert (await tenant.error(method, path, stale, status=400))["detail"] == CONFLICT
        view = changed


async def test_a_soft_update_needs_no_history_id(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ONE)
    query = {"query": "SELECT 'x' AS m"}
    soft = await patch(tenant, view, query=query, soft_update=True, edited_history_id=str(uuid4()))
    assert (soft["query"], soft["latest_history_id"] != view["latest_history_id"]) == (query, True)
    assert [(column["name"], column["type"]) for column in soft["columns"]] == [("m", "string")]


async def test_only_a_real_change_of_the_query_makes_a_revision(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ONE)
    token = view["latest_history_id"]
    assert (await patch(tenant, view, query=view["query"]))["latest_history_id"] == token
    assert (await patch(tenant, view, query={"kind": "SQLQuery", "query": ONE}))["latest_history_id"] == token
    assert (await patch(tenant, view, name="w", description="d"))["latest_history_id"] == token
    assert (await patch(tenant, view, sync_frequency="1hour"))["latest_history_id"] == token
    await tenant.ended(view["id"])
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 2)
    assert (await tenant.view(view["id"]))["latest_history_id"] == token
    assert (await tenant.act(view["id"], "revert_materialization"))["latest_history_id"] == token
    assert (await patch(tenant, view, query={"query": f"{ONE} "}, soft_update=True))["latest_history_id"] != token


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "not valid!"},
        {"query": {"query": "SELECT nope"}, "soft_update": True},
        {"query": {"query": "SELECT 2"}},
        {"query": {"query": "SELECT n FROM v"}, "soft_update": True},
        {"sync_frequency": "2hour"},
        {"description": 7},
    ],
)
async def test_a_refused_field_changes_nothing(stack: DevStack, tenant: Tenant, wrong: Json) -> None:
    view = await tenant.create_view("v", ONE)
    good = {"name": "w", "description": "d", "sync_frequency": "1hour"}
    said = await refused(tenant, view, **good | wrong)
    assert said["attr"] in {*wrong, "edited_history_id"}
    assert await tenant.view(view["id"]) == view
    assert (await tenant.call("GET", f"{VIEWS}{view['id']}/activity/"))["total_count"] == 1
    assert await schedule_of(await temporal_of(stack), view["id"]) is None


async def test_a_cycle_is_refused_and_its_path_named(tenant: Tenant) -> None:
    a = await tenant.create_view("a", ONE)
    await tenant.create_view("b", "SELECT n FROM a")
    c = await tenant.create_view("c", "SELECT n FROM b")
    said = await refused(tenant, a, query={"query": "SELECT n FROM c"}, soft_update=True)
    assert said["detail"] == "Model contains a cycle: a -> c -> b -> a"
    assert "a -> a" in (await refused(tenant, a, query={"query": "SELECT n FROM a"}, soft_update=True))["detail"]
    again = await patch(tenant, c, query={"query": "SELECT x.n FROM b x, b y, a"}, soft_update=True)
    assert again["query"]["query"].endswith("a"), "neither a diamond nor a self-join is a cycle"


# --- delete -----------------------------------------------------------------------------------------------------------


async def test_a_deletion_is_204_and_empty(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ONE)
    answer = await tenant.http.delete(f"{VIEWS}{view['id']}/")
    assert (answer.status_code, answer.content) == (204, b"")


# --- lineage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["ancestors", "descendants"])
async def test_a_level_is_a_whole_number_from_one_on_or_all(tenant: Tenant, which: str) -> None:
    view = await tenant.create_view("v", ONE)
    for level in (1, 2, 10**9, 10**12, 10**40, "all", None):
        assert await related(tenant, view, which, {"level": level}) == [], "one that overshoots is no error"
    wrong: list[object] = [0, -1, 1.5, 1.0, True, False, "x", "1", "ALL", "", [], {}]
    for other in wrong:
        said = await tenant.error("POST", f"{VIEWS}{view['id']}/{which}/", {"level": other}, status=400)
        assert said["attr"] == "level", other
        assert "1 or more" in said["detail"]


async def test_a_level_counts_the_steps_of_a_path(tenant: Tenant) -> None:
    queries = [ONE, *(f"SELECT n FROM v{number}" for number in range(4))]
    chain = [await tenant.create_view(f"v{number}", sql) for number, sql in enumerate(queries)]
    ids = [view["id"] for view in chain]
    for level in range(1, 5):
        assert await related(tenant, chain[4], "ancestors", {"level": level}) == [ids[4 - level]]
        assert await related(tenant, chain[0], "descendants", {"level": level}) == [ids[level]]
    assert await related(tenant, chain[4], "ancestors") == [ids[3]], "1 unless given"
    assert await related(tenant, chain[0], "descendants", {"level": 5}) == []
    assert sorted(await related(tenant, chain[4], "ancestors", {"level": "all"})) == sorted(ids[:4])
    assert sorted(await related(tenant, chain[0], "descendants", {"level": "all"})) == sorted(ids[1:])


async def test_relatives_are_dashed_lower_case_ids_of_views_and_plain_names_of_tables(
    tenant: Tenant, sources: Path
) -> None:
    await tenant.add_table("Raw.Events", write_parquet(sources / "relatives.parquet", a=[1]))
    a = await tenant.create_view("a", "SELECT a AS n FROM raw.events x JOIN RAW.EVENTS y USING (a)")
    sql = "WITH c AS (SELECT n FROM a UNION SELECT n FROM A) SELECT n FROM c, (SELECT 1 FROM range(3))"
    b = await tenant.create_view("b", sql)
    assert await related(tenant, a, "ancestors") == ["Raw.Events"]
    assert await related(tenant, b, "ancestors") == [str(UUID(a["id"]))] == [a["id"]]
    assert await related(tenant, b, "ancestors", {"level": 2}) == ["Raw.Events"]
    assert await related(tenant, a, "descendants") == [b["id"]]


async def test_dependencies_count_distinct_immediate_neighbours(tenant: Tenant, sources: Path) -> None:
    await tenant.add_table("t", write_parquet(sources / "counted.parquet", a=[1]))
    a = await tenant.create_view("a", "SELECT x.a AS n FROM t x, t y")
    b = await tenant.create_view("b", "SELECT x.n FROM a x, a y, t")
    c = await tenant.create_view("c", "SELECT n FROM b")

    async def counted(view: Json) -> Json:
        return await tenant.call("GET", f"{VIEWS}{view['id']}/dependencies/")

    assert await counted(a) == {"upstream_count": 1, "downstream_count": 1}
    assert await counted(b) == {"upstream_count": 2, "downstream_count": 1}
    await tenant.call("DELETE", f"{VIEWS}{c['id']}/", expect=204)
    assert await counted(b) == {"upstream_count": 2, "downstream_count": 0}
    assert await related(tenant, b, "descendants", {"level": "all"}) == []
