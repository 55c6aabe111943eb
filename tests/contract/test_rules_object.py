"""The rules of the saved query object: the values that each field accepts and shows."""

import httpx
import pytest

from orchestrator.devstack.stack import DevStack
from orchestrator.model.saved_query import SyncFrequency
from tests.contract.support import VIEWS, schedule_of, temporal_of
from tests.support.tenants import ENDLESS, Json, Tenant

SUMMARY = {
    *("id", "deleted", "name", "created_by", "created_at", "sync_frequency", "columns", "status", "last_run_at"),
    *("managed_viewset_kind", "latest_error", "is_materialized", "origin", "description"),
}
OURS = {
    *("next_run_at", "schedule_paused", "paused_reason", "row_count", "size_bytes", "current_snapshot_id"),
    *("data_as_of", "freshness", "max_staleness", "cron", "time_zone", "translated_query"),
}
ONE = "SELECT 1 AS n"
TAKEN = "A table or view with this name already exists. Choose a different name."


async def patch(tenant: Tenant, view: Json, **fields: object) -> Json:
    return await tenant.call("PATCH", f"{VIEWS}{view['id']}/", fields)


async def refused(tenant: Tenant, **fields: object) -> Json:
    """The answer to a new view that is not valid."""
    return await tenant.error("POST", VIEWS, {"name": "v", "query": {"query": ONE}} | fields, status=400)


async def test_an_object_has_exactly_the_fields_of_the_contract(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ONE)
    whole = SUMMARY | OURS | {"query", "latest_history_id"}
    assert set(view) == whole
    assert set(await tenant.view(view["id"])) == whole
    assert set(await patch(tenant, view, description="d")) == whole
    assert set(await tenant.act(view["id"], "materialize")) == whole
    (listed,) = (await tenant.call("GET", VIEWS))["results"]
    assert set(listed) - OURS == SUMMARY, "no query and no history in a list"
    await tenant.ended(view["id"])


async def test_fields_that_are_read_only_or_unknown_are_ignored(tenant: Tenant) -> None:
    theirs: Json = {
        "id": "x",
        "created_by": 7,
        "created_at": "x",
        "columns": [],
        "status": "Failed",
        "last_run_at": 1,
        "managed_viewset_kind": "x",
        "latest_error": "x",
        "latest_history_id": "x",
        "is_materialized": True,
        "origin": "x",
        "row_count": 7,
        "current_snapshot_id": "x",
        "folder_id": "x",
        "dag_id": 1,
        "is_test": True,
    }
    view = await tenant.create_view("v", ONE, **theirs)
    assert (view["is_materialized"], view["status"], view["origin"]) == (False, None, "data_warehouse")
    assert await patch(tenant, view, **theirs) == view
    assert await tenant.view(view["id"]) == view


async def test_deleted_true_deletes_whatever_else_is_sent_and_deleted_false_does_nothing(tenant: Tenant) -> None:
    view = await tenant.materialized("v", ONE)
    assert await patch(tenant, view, deleted=False) == view
    gone = await patch(tenant, view, deleted=True, name="not valid!", query=7, sync_frequency="1hour")
    assert (gone["id"], gone["name"], gone["deleted"], gone["sync_frequency"]) == (view["id"], "v", True, None)
    await tenant.error("GET", f"{VIEWS}{view['id']}/", status=404)
    await tenant.error("PATCH", f"{VIEWS}{view['id']}/", {"deleted": False}, status=404)
    assert (await tenant.create_view("v", ONE))["id"] != view["id"], "its name is free"


@pytest.mark.parametrize("name", ["a", "_", "$", "Z9$_", "a.b.c", "_1.$2", "x" * 128, "sales.system", "systems.x"])
async def test_a_name_of_letters_digits_underscores_dots_and_dollars_is_taken(tenant: Tenant, name: str) -> None:
    assert (await tenant.create_view(name, ONE))["name"] == name


@pytest.mark.parametrize("name", ["1a", ".a", "a-b", "a b", "a\n", "é", "naïve", "表", "a/b", 'a"b', "x" * 127 + "é"])
async def test_any_other_name_is_refused_in_the_words_of_the_contract(tenant: Tenant, name: str) -> None:
    said = await refused(tenant, name=name)
    words = "is not a valid view name. View names can only contain letters, numbers, '_', '.', or '$'."
    assert (said["detail"], said["attr"]) == (f"{name} {words}", "name")


@pytest.mark.parametrize("name", ["a.", "a..b", "main.x", "memory.x", "pg_catalog.x", "temp.x"])
async def test_a_name_that_no_query_could_reach_is_refused_though_the_contract_allows_it(
    tenant: Tenant, name: str
) -> None:
    """DuckDB reserves these namespaces, and has no syntax for the other names."""
    assert (await refused(tenant, name=name))["attr"] == "name"


@pytest.mark.parametrize("name", ["system.x", "information_schema.tables", "SYSTEM.x", "Information_Schema.x"])
async def test_the_reserved_namespaces_are_refused(tenant: Tenant, name: str) -> None:
    said = await refused(tenant, name=name)
    assert (said["attr"], "reserved" in said["detail"]) == ("name", True)


async def test_a_name_that_a_view_has_is_taken_for_a_rename_in_any_case(tenant: Tenant) -> None:
    await tenant.create_view("first", ONE)
    second = await tenant.create_view("second", ONE)
    said = await tenant.error("PATCH", f"{VIEWS}{second['id']}/", {"name": "FIRST"}, status=400)
    assert (said["detail"], said["attr"]) == (TAKEN, "name")


@pytest.mark.parametrize(
    "query",
    [
        {"query": ONE},
        {"kind": "HogQLQuery", "query": ONE},
        {"kind": "SQLQuery", "query": ONE},
        {"kind": "HogQLQuery", "query": "\n  SELECT 'ü' AS n;\n", "values": {"a": [1, None]}, "name": "mine"},
    ],
)
async def test_a_query_is_echoed_as_it_was_sent(tenant: Tenant, query: Json) -> None:
    view = await tenant.call("POST", VIEWS, {"name": "v", "query": query}, expect=201)
    assert view["query"] == query
    assert (await tenant.view(view["id"]))["query"] == query


async def test_a_query_that_is_a_bare_string_is_refused_as_no_json_object(tenant: Tenant) -> None:
    said = await refused(tenant, query=ONE)
    assert (said["attr"], "JSON object" in said["detail"]) == ("query", True)


@pytest.mark.parametrize("query", [{"query": ""}, {"query": " \n"}, {"query": None}, {}, {"kind": "HogQLQuery"}])
async def test_an_empty_query_is_refused(tenant: Tenant, query: Json) -> None:
    assert (await refused(tenant, query=query))["attr"] == "query"


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT {variables.x}", "Variables like {variables.x} are not allowed in views"),
        ("SELECT 1 WHERE n = { variables.from_date }", "Variables like {variables.from_date} are not allowed in views"),
        ("SELECT 1 WHERE {filters}", "Filters and placeholder expressions are not allowed in views"),
        ("SELECT {a + b}", "Filters and placeholder expressions are not allowed in views"),
        ("SELECT {'a': {x}}", "Filters and placeholder expressions are not allowed in views"),
    ],
)
async def test_placeholders_are_refused_in_the_words_of_the_contract(tenant: Tenant, sql: str, said: str) -> None:
    assert (await refused(tenant, query={"query": sql}))["detail"] == said


@pytest.mark.parametrize(
    "sql",
    ["SELECT {'a': 1} AS n", "SELECT {a: {'b': [1]}} AS n", "SELECT MAP {'a': 1} AS n", "SELECT '{x}' AS n -- {y}"],
)
async def test_duckdbs_own_struct_literals_stay_legal(tenant: Tenant, sql: str) -> None:
    assert (await tenant.create_view("v", sql))["columns"][0]["name"] == "n"


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELEC 1", 'Parser Error: syntax error at or near "SELEC"'),
        ("SELECT nope FROM (SELECT 1 AS n)", 'Binder Error: Referenced column "nope" not found'),
        ("SELECT * FROM nowhere", "Catalog Error: Table with name nowhere does not exist"),
        ("SELECT 'a' + 1 + DATE '2020-01-01'", "Binder Error: "),
        ("SELECT 1; SELECT 2", ""),
        ("CREATE TABLE t AS SELECT 1", ""),
    ],
)
async def test_what_is_not_one_select_is_an_invalid_query_with_the_message_of_duckdb(
    tenant: Tenant, sql: str, said: str
) -> None:
    reported = await refused(tenant, query={"query": sql})
    assert reported["detail"].startswith(f"Invalid query: {said}"), reported["detail"]
    assert reported["attr"] == "query"


async def test_created_by_is_the_owner_of_the_key(stack: DevStack, tenant: Tenant) -> None:
    who = (await tenant.create_view("v", ONE))["created_by"]
    assert set(who) == {
        *("id", "uuid", "distinct_id", "first_name", "last_name", "email"),
        *("is_email_verified", "hedgehog_config", "role_at_organization"),
    }
    async with httpx.AsyncClient(headers=tenant.http.headers) as http:
        me = (await http.get(f"{stack.info['api_url']}/api/users/@me/")).json()
    assert {field: me[field] for field in who} == who


async def test_every_frequency_is_kept_read_back_and_given_to_the_schedule(stack: DevStack, tenant: Tenant) -> None:
    view = await tenant.materialized("v", ONE)
    temporal = await temporal_of(stack)
    for frequency in ("1min", "5min", "15min", "30min", "1hour", "6hour", "12hour", "24hour", "7day", "30day"):
        assert (await patch(tenant, view, sync_frequency=frequency))["sync_frequency"] == frequency
        assert (await tenant.view(view["id"]))["sync_frequency"] == frequency
        schedule = await schedule_of(temporal, view["id"])
        assert schedule is not None
        assert [one.every for one in schedule.schedule.spec.intervals] == [SyncFrequency(frequency).interval]
    assert (await patch(tenant, view, sync_frequency="never"))["sync_frequency"] == "never"
    said = await tenant.error("PATCH", f"{VIEWS}{view['id']}/", {"sync_frequency": "2hour"}, status=400)
    assert said["attr"] == "sync_frequency"
    assert [one for one in SyncFrequency if f"'{one}'" not in said["detail"]] == [], "every value is listed"


@pytest.mark.parametrize("text", ["", "two\nlines", "ünïcödé 表 💩", "x" * 10_000, None])
async def test_a_description_is_free_text_or_null(tenant: Tenant, text: str | None) -> None:
    view = await tenant.create_view("v", ONE, description=text)
    assert view["description"] == text
    assert (await patch(tenant, view, description="other"))["description"] == "other"
    assert (await patch(tenant, view, description=text))["description"] == text
    assert (await patch(tenant, view, soft_update=True))["description"] == text, "what is not sent stays"


async def test_a_status_is_null_running_completed_failed_cancelled_or_modified(tenant: Tenant) -> None:
    assert (await tenant.create_view("plain", ONE))["status"] is None
    done = await tenant.materialized("done", ONE)
    assert (done["status"], done["latest_error"]) == ("Completed", None)
    bad = await tenant.materialized("bad", "SELECT error('no luck') AS n")
    assert (bad["status"], "no luck" in bad["latest_error"]) == ("Failed", True)
    slow = await tenant.create_view("slow", ENDLESS)
    assert (await tenant.act(slow["id"], "materialize"))["status"] == "Running"
    stopped = await tenant.act(slow["id"], "cancel")
    assert (stopped["status"], stopped["latest_error"]) == ("Cancelled", None)
    listed = {view["name"]: view["status"] for view in (await tenant.call("GET", VIEWS))["results"]}
    assert listed == {"plain": None, "done": "Completed", "bad": "Failed", "slow": "Cancelled"}

    edited = await patch(tenant, bad, query={"query": ONE}, soft_update=True)
    assert (edited["status"], edited["last_run_at"]) == ("Modified", bad["last_run_at"])
    await tenant.act(bad["id"], "run")
    run = await tenant.ended(bad["id"], 2)
    mended = await tenant.view(bad["id"])
    assert (mended["status"], mended["latest_error"]) == ("Completed", None), "a success clears the error"
    assert mended["last_run_at"] == run["timestamp"]


async def test_a_description_of_a_novels_length_is_refused(tenant: Tenant) -> None:
    assert (await refused(tenant, description="x" * 10_001))["attr"] == "description"
