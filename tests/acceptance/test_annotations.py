"""Descriptions of views, source tables and their columns."""

from pathlib import Path
from uuid import uuid4

import pytest

from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from tests.acceptance.test_changing import journal, patch
from tests.support.tenants import Json, Tenant, a_tenant, write_parquet

VIEWS, NOTES, TABLE_NOTES = (
    "/warehouse_saved_queries/",
    "/saved_query_column_annotations/",
    "/warehouse_column_annotations/",
)


async def described(
    tenant: Tenant, view: Json, column: str, text: str, *, expect: int = 201, of: str = "saved_query"
) -> Json:
    path = NOTES if of == "saved_query" else TABLE_NOTES
    body = {of: view["id"], "column_name": column, "description": text}
    return await tenant.call("POST", path, body, expect=expect)


async def listed(tenant: Tenant, query: str = "", path: str = NOTES) -> list[tuple[str, str, bool]]:
    found = await tenant.call("GET", f"{path}?{query}")
    assert found["count"] == len(found["results"])
    return [(one["column_name"], one["description"], one["exists"]) for one in found["results"]]


def descriptions(shown: Json) -> dict[str, str | None]:
    return {column["name"]: column["description"] for column in shown["columns"]}


async def test_a_column_is_described_once_and_the_next_description_replaces_the_first(tenant: Tenant) -> None:
    view = await tenant.create_view("v", 'SELECT 1 AS "Amount", 2 AS n')
    assert descriptions(view) == {"Amount": None, "n": None}
    note = await described(tenant, view, "Amount", "what was paid")
    again = await described(tenant, view, "AMOUNT", "what was paid, in EUR", expect=200)
    assert again["id"] == note["id"]
    assert again["updated_at"] > note["updated_at"]
    assert again["created_at"] == note["created_at"]
    assert {key: again[key] for key in ("saved_query", "column_name", "source", "exists")} == {
        "saved_query": view["id"],
        "column_name": "Amount",
        "source": "user_edited",
        "exists": True,
    }
    assert descriptions(await tenant.view(view["id"])) == {"Amount": "what was paid, in EUR", "n": None}
    assert await tenant.call("GET", f"{NOTES}{note['id']}/") == again
    edited = await tenant.call("PATCH", f"{NOTES}{note['id']}/", {"description": "paid"})
    assert edited["description"] == "paid"
    await tenant.call("DELETE", f"{NOTES}{note['id']}/", expect=204)
    await tenant.error("GET", f"{NOTES}{note['id']}/", status=404)
    assert descriptions(await tenant.view(view["id"])) == {"Amount": None, "n": None}
    changes = [change for entry in await journal(tenant, view) for change in entry["detail"]["changes"]]
    assert [(change["field"], change["after"]) for change in changes[:-1]] == [
        ("columns.Amount.description", None),
        ("columns.Amount.description", "paid"),
        ("columns.AMOUNT.description", "what was paid, in EUR"),
        ("columns.Amount.description", "what was paid"),
    ]


async def test_the_description_of_a_view_is_one_fact_wherever_it_is_changed(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n", description="of old")
    (note,) = (await tenant.call("GET", NOTES))["results"]
    assert (note["column_name"], note["description"]) == ("", "of old")
    await described(tenant, view, "", "said by an annotation", expect=200)
    assert (await tenant.view(view["id"]))["description"] == "said by an annotation"
    await patch(tenant, view, description="said by the view")
    assert (await tenant.call("GET", f"{NOTES}{note['id']}/"))["description"] == "said by the view"
    await tenant.call("PATCH", f"{NOTES}{note['id']}/", {"description": "said by its id"})
    assert (await tenant.view(view["id"]))["description"] == "said by its id"
    await tenant.call("DELETE", f"{NOTES}{note['id']}/", expect=204)
    assert (await tenant.view(view["id"]))["description"] is None
    assert await listed(tenant) == []
    await described(tenant, view, "", "new")
    await patch(tenant, view, description=None)
    assert await listed(tenant) == []
    assert [change["after"] for entry in await journal(tenant, view) for change in entry["detail"]["changes"]][:3] == [
        *(None, "new", None),
    ]


async def test_a_description_outlives_its_column_and_comes_back_with_it(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS a, 2 AS b")
    note = await described(tenant, view, "a", "the first")
    await patch(tenant, view, query={"query": "SELECT 2 AS b"}, soft_update=True)
    assert await listed(tenant) == [("a", "the first", False)]
    assert descriptions(await tenant.view(view["id"])) == {"b": None}
    kept = await described(tenant, view, "a", "what the first was", expect=200)
    assert (kept["id"], kept["exists"]) == (note["id"], False)
    await patch(tenant, view, query={"query": "SELECT 3 AS A"}, soft_update=True)
    assert await listed(tenant) == [("a", "what the first was", True)]
    assert descriptions(await tenant.view(view["id"])) == {"A": "what the first was"}


async def test_a_rename_keeps_descriptions_and_a_deletion_hides_them(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n", description="a view")
    note = await described(tenant, view, "n", "a number")
    await patch(tenant, view, name="w")
    assert await listed(tenant) == [("", "a view", True), ("n", "a number", True)]
    await tenant.call("DELETE", f"{VIEWS}{view['id']}/", expect=204)
    assert await listed(tenant) == []
    for method, body in (("GET", None), ("PATCH", {"description": "x"}), ("DELETE", None)):
        for note_id in (note["id"], view["id"]):
            await tenant.error(method, f"{NOTES}{note_id}/", body, status=404)
    again = await tenant.create_view("w", "SELECT 1 AS n")
    assert descriptions(again) == {"n": None}, "it is another view"


async def test_a_version_shows_what_its_columns_mean(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n, 2 AS m")
    await described(tenant, view, "N", "a number")
    (version,) = (await tenant.call("GET", f"{VIEWS}{view['id']}/snapshots/"))["results"]
    assert descriptions(version) == {"n": "a number", "m": None}
    pinned = await tenant.call("PATCH", f"{VIEWS}{view['id']}/snapshots/{version['id']}/", {"pinned": True})
    assert descriptions(pinned) == {"n": "a number", "m": None}
    (shown,) = (await tenant.call("GET", VIEWS))["results"]
    assert all("description" not in column for column in shown["columns"]), "a list does without"


async def test_a_source_table_and_its_columns_are_described_likewise(tenant: Tenant, sources: Path) -> None:
    path = write_parquet(sources / f"described-{tenant.project_id}.parquet", id=[1], name=["x"])
    table = await tenant.add_table("people", path)
    assert (table["description"], descriptions(table)) == (None, {"id": None, "name": None})
    own = await described(tenant, table, "", "who buys", of="table")
    await described(tenant, table, "NAME", "as they write it", of="table")
    assert own["table"] == table["id"]
    shown = await tenant.call("GET", f"/warehouse_tables/{table['id']}/")
    assert (shown["description"], descriptions(shown)) == ("who buys", {"id": None, "name": "as they write it"})
    await tenant.call("PATCH", f"/warehouse_tables/{table['id']}/", {"name": "persons"})
    assert await listed(tenant, f"table_id={table['id']}", TABLE_NOTES) == [
        ("", "who buys", True),
        ("NAME", "as they write it", True),
    ]
    write_parquet(path, id=[1])
    refreshed = await tenant.call("POST", f"/warehouse_tables/{table['id']}/refresh_schema/")
    assert descriptions(refreshed) == {"id": None}
    assert (await listed(tenant, "", TABLE_NOTES))[1] == ("NAME", "as they write it", False)
    edited = await tenant.call("PATCH", f"{TABLE_NOTES}{own['id']}/", {"description": "x", "table": table["id"]})
    assert edited["description"] == "x"
    await tenant.call("DELETE", f"{TABLE_NOTES}{own['id']}/", expect=204)
    assert (await tenant.call("GET", f"/warehouse_tables/{table['id']}/"))["description"] is None
    await tenant.call("DELETE", f"/warehouse_tables/{table['id']}/", expect=204)
    assert await listed(tenant, "", TABLE_NOTES) == []


async def test_a_list_has_pages_and_can_be_of_one_view(tenant: Tenant) -> None:
    views = [await tenant.create_view(name, "SELECT 1 AS a, 2 AS b") for name in ("v", "u")]
    for view in views:
        for column in ("b", "", "a"):
            await described(tenant, view, column, f"{view['name']} {column}")
    everything = await listed(tenant)
    assert [text for _, text, _ in everything] == ["u ", "u a", "u b", "v ", "v a", "v b"]
    assert await listed(tenant, f"saved_query_id={views[0]['id']}") == everything[3:]
    found: list[str] = []
    path: str | None = f"{NOTES}?limit=4"
    while path:
        page = await tenant.call("GET", path)
        assert page["count"] == 6
        found += [one["description"] for one in page["results"]]
        path = page["next"] and NOTES + "?" + page["next"].partition("?")[2]
    assert found == [text for _, text, _ in everything]
    assert page["previous"].endswith("limit=4&offset=0")


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"column_name": "n", "description": ""}, "description"),
        ({"column_name": "n", "description": "x" * 4_001}, "description"),
        ({"column_name": "n"}, "description"),
        ({"column_name": "x" * 1_001, "description": "x"}, "column_name"),
        ({"column_name": "other", "description": "x"}, "column_name"),
        ({"saved_query": "none", "description": "x"}, "saved_query"),
        ({"saved_query": str(uuid4()), "description": "x"}, "saved_query"),
    ],
)
async def test_a_description_that_cannot_be_is_refused(tenant: Tenant, body: Json, attr: str) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n, 2 AS m")
    said = await tenant.error("POST", NOTES, {"saved_query": view["id"], **body}, status=400)
    assert said["attr"] == attr
    if body.get("column_name") == "other":
        assert said["detail"] == 'This view has no column "other". Its columns are n, m.'
    assert await listed(tenant) == []


async def test_all_descriptions_of_a_view_have_a_limit_together(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT " + ", ".join(f"{n} AS c{n}" for n in range(27)))
    for n in range(25):
        await described(tenant, view, f"c{n}", "x" * 4_000)
    body = {"saved_query": view["id"], "column_name": "c25", "description": "y"}
    said = await tenant.error("POST", NOTES, body, status=400)
    assert "have 100,001 characters; 100,000 are the most" in said["detail"]
    await described(tenant, view, "c3", "x" * 3_999, expect=200)
    await described(tenant, view, "c25", "y")


async def test_an_annotation_stays_with_what_it_describes(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n, 2 AS m")
    other = await tenant.create_view("w", "SELECT 1 AS n")
    note = await described(tenant, view, "n", "a number")
    for body, attr in (({"saved_query": other["id"]}, "saved_query"), ({"column_name": "m"}, "column_name")):
        assert (await tenant.error("PATCH", f"{NOTES}{note['id']}/", body, status=400))["attr"] == attr
    same = {"saved_query": view["id"], "column_name": "n"}
    assert await tenant.call("PATCH", f"{NOTES}{note['id']}/", same) == note


async def test_another_projects_key_or_one_without_the_scope_reaches_no_description(
    tenant: Tenant, stack: DevStack
) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n", description="mine")
    note = await described(tenant, view, "n", "a number")
    async with a_tenant(stack) as other:
        assert await listed(other) == []
        assert await listed(other, f"saved_query_id={view['id']}") == []
        await other.error("POST", NOTES, {"saved_query": view["id"], "description": "x"}, status=400)
        for note_id in (note["id"], view["id"]):
            await other.error("GET", f"{NOTES}{note_id}/", status=404)
            await other.error("DELETE", f"{NOTES}{note_id}/", status=404)
    async with a_tenant(stack, Scope.VIEW_READ) as other:
        await other.call("GET", NOTES)
        await other.error("POST", NOTES, {"saved_query": view["id"], "description": "x"}, status=403)
        said = await other.error("GET", TABLE_NOTES, status=403)
        assert "external_data_source:read" in said["detail"]
    async with a_tenant(stack, Scope.SOURCE_READ) as other:
        await other.call("GET", TABLE_NOTES)
        await other.error("GET", "/warehouse_tables/", status=403)
    async with a_tenant(stack, Scope.TABLE_WRITE) as other:
        await other.call("GET", TABLE_NOTES)
        await other.error("POST", TABLE_NOTES, {"table": str(uuid4()), "description": "x"}, status=400)
    assert await listed(tenant) == [("", "mine", True), ("n", "a number", True)]
