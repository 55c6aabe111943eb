"""The activity of a view says the same of a change, whether an apply made it or a request for that view alone."""

import pytest

from tests.definitions.project import apply, view
from tests.support.tenants import Json, Tenant

VIEWS = "/warehouse_saved_queries/"
QUERY = {"kind": "HogQLQuery", "query": "SELECT 1 AS n"}
CHAIN = {"base": "SELECT 1 AS a, 2 AS b", "mid": "SELECT * FROM base", "top": "SELECT b FROM mid"}
BESIDE = {"other": "SELECT 1 AS n", "reads_other": "SELECT n FROM other"}


async def ids(tenant: Tenant) -> dict[str, str]:
    return {one["name"]: one["id"] for one in (await tenant.call("GET", VIEWS))["results"]}


async def activity(tenant: Tenant, view_id: str) -> dict[str, list[Json]]:
    """The changes of each entry, by what happened; each happens once."""
    entries = (await tenant.call("GET", f"{VIEWS}{view_id}/activity/"))["results"]
    found = {entry["activity"]: entry["detail"]["changes"] for entry in entries}
    assert len(found) == len(entries)
    return found


async def breaks(tenant: Tenant, view_id: str) -> list[str] | None:
    """The readers that the deletion of a view broke, as its entry names them; None if it names none."""
    deleted = {one["field"]: one["after"] for one in (await activity(tenant, view_id))["deleted"]}
    return deleted.get("break_dependents")


async def test_a_view_that_an_apply_creates_has_the_entries_of_one_that_is_created_alone(tenant: Tenant) -> None:
    alone = await tenant.create_view("alone", QUERY["query"])
    await tenant.act(alone["id"], "materialize", {"sync_frequency": "6hour"})
    await tenant.ended(alone["id"])
    plain = await tenant.create_view("plain", QUERY["query"])
    both = [view("applied", "", "6hour", query=QUERY), view("applied_plain", "", None, query=QUERY)]
    await apply(tenant, {"views": both, "refresh": False})

    found = await ids(tenant)
    of_one = await activity(tenant, alone["id"])
    assert of_one["created"][0]["after"] == QUERY
    assert of_one["materialization_enabled"][0]["after"] == "6hour"
    assert await activity(tenant, found["applied"]) == of_one
    assert await activity(tenant, found["applied_plain"]) == await activity(tenant, plain["id"])


@pytest.mark.parametrize("prune", [False, True], ids=["by name", "by prune"])
async def test_a_deletion_that_breaks_readers_names_them_in_the_activity(tenant: Tenant, *, prune: bool) -> None:
    made = [view(name, sql, None) for name, sql in (CHAIN | BESIDE).items()]
    await apply(tenant, {"views": made})
    gone, found = {"base", "other", "reads_other"}, await ids(tenant)
    kept = [one for one in made if one["name"] not in gone]
    body: Json = {"views": kept, "prune": True} if prune else {"delete": sorted(gone)}
    done = await apply(tenant, {**body, "break_dependents": True})
    assert {one["name"] for one in done["plan"]["broken"]} == {"mid"}
    assert await breaks(tenant, found["base"]) == ["mid"]
    assert await breaks(tenant, found["other"]) is None, "its reader is deleted with it"


async def test_each_edit_of_an_apply_names_the_readers_that_it_breaks_and_no_others(tenant: Tenant) -> None:
    await apply(tenant, {"views": [view(name, sql, None) for name, sql in (CHAIN | BESIDE).items()]})
    edits = [view("base", "SELECT 1 AS a", None), view("other", "SELECT 1 AS m", None)]
    await apply(tenant, {"views": edits, "break_dependents": True})
    found = await ids(tenant)
    recorded = {}
    for name in ("base", "other"):
        updated = (await activity(tenant, found[name]))["updated"]
        recorded[name] = {one["field"]: one["after"] for one in updated}["break_dependents"]
    assert recorded == {"base": ["top"], "other": ["reads_other"]}
