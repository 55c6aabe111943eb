"""An edit of one view or table is refused if what reads it would stop binding, unless it says that it may."""

from pathlib import Path

import pytest

from tests.definitions.project import apply, view
from tests.generations.test_refreshing import finished
from tests.support.tenants import Json, Tenant

VIEWS = "/warehouse_saved_queries/"


async def chain(tenant: Tenant, every: str | None) -> dict[str, Json]:
    """A view, one that reads it, and one that reads that; materialized if `every` is given."""
    made = [("base", "SELECT 1 AS a, 2 AS b"), ("mid", "SELECT a, b FROM base"), ("top", "SELECT b FROM mid")]
    done = await apply(tenant, {"views": [view(name, sql, every) for name, sql in made]})
    if done["generation_id"]:
        await finished(tenant, {"id": done["generation_id"]})
    found = (await tenant.call("GET", VIEWS))["results"]
    return {one["name"]: await tenant.view(one["id"]) for one in found}


def edit_of(shown: Json, sql: str, **more: object) -> Json:
    return {"query": {"query": sql}, "edited_history_id": shown["latest_history_id"], **more}


@pytest.mark.parametrize("every", [None, "24hour"], ids=["plain", "materialized"])
async def test_an_edit_that_takes_a_column_from_a_reader_is_refused(tenant: Tenant, every: str | None) -> None:
    views = await chain(tenant, every)
    path, edit = f"{VIEWS}{views['base']['id']}/", edit_of(views["base"], "SELECT 1 AS a, 2 AS c")
    refused = await tenant.error("PATCH", path, edit, status=400)
    assert refused["code"] == "readers_break"
    assert "mid (reads base): Invalid query: Binder Error" in refused["detail"]
    assert '"b"' in refused["detail"]
    assert "set break_dependents" in refused["detail"]
    assert (await tenant.view(views["base"]["id"]))["query"]["query"] == "SELECT 1 AS a, 2 AS b"
    again = {"name": "base", **edit}
    assert (await tenant.error("POST", VIEWS, again, status=400))["code"] == "readers_break"

    saved = await tenant.call("PATCH", path, {**edit, "break_dependents": True})
    assert saved["query"]["query"] == "SELECT 1 AS a, 2 AS c"
    newest = (await tenant.call("GET", f"{path}activity/"))["results"][0]
    recorded = {one["field"]: one["after"] for one in newest["detail"]["changes"]}
    assert recorded["break_dependents"] == ["mid"]


async def test_an_edit_that_breaks_a_view_two_steps_below_is_refused(tenant: Tenant) -> None:
    made = [("base", "SELECT 1 AS a"), ("mid", "SELECT * FROM base"), ("top", "SELECT a + 1 AS x FROM mid")]
    await apply(tenant, {"views": [view(name, sql, None) for name, sql in made]})
    body = {"name": "base", "soft_update": True, "query": {"query": "SELECT 'x' AS a, 1 AS more"}}
    refused = await tenant.error("POST", VIEWS, body, status=400)
    assert "top (reads mid)" in refused["detail"]
    body["query"] = {"query": "SELECT 1.5 AS a, 1 AS more"}
    await tenant.call("POST", VIEWS, body)


@pytest.mark.parametrize("every", [None, "24hour"], ids=["plain", "materialized"])
async def test_an_edit_that_readers_can_live_with_is_saved(tenant: Tenant, every: str | None) -> None:
    views = await chain(tenant, every)
    edit = edit_of(views["base"], "SELECT 5 AS b, 6 AS a, 7 AS more")
    await tenant.call("PATCH", f"{VIEWS}{views['base']['id']}/", edit)


async def test_a_reader_that_is_broken_already_hinders_no_edit(tenant: Tenant) -> None:
    views = await chain(tenant, None)
    path = f"{VIEWS}{views['base']['id']}/"
    saved = await tenant.call("PATCH", path, edit_of(views["base"], "SELECT 1 AS a", break_dependents=True))
    await tenant.call("PATCH", path, edit_of(saved, "SELECT 1 AS a, 3 AS more"))


async def test_a_table_whose_files_lose_a_column_keeps_it_until_readers_are_changed(
    tenant: Tenant, sources: Path
) -> None:
    path = sources / f"readers-{tenant.project_id}.csv"
    path.write_text("a,b\n1,2\n")
    table = await tenant.add_table("t", path, "CSVWithNames")
    await tenant.create_view("v", "SELECT a + b AS s FROM t")
    path.write_text("a,c\n1,2\n")
    refresh = f"/warehouse_tables/{table['id']}/refresh_schema/"
    refused = await tenant.error("POST", refresh, status=400)
    assert "v (reads t)" in refused["detail"]
    shown = await tenant.call("POST", refresh, {"break_dependents": True})
    assert [one["name"] for one in shown["columns"]] == ["a", "c"]
