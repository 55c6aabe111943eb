"""The graph of a project, with names and by column."""

from pathlib import Path
from uuid import uuid4

from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from tests.support.tenants import Json, Tenant, a_tenant, write_parquet

VIEWS, GRAPH = "/warehouse_saved_queries/", "/lineage/"
Ref = tuple[str, str | None]


async def shop(tenant: Tenant, sources: Path) -> dict[str, Json]:
    """Two tables, and four views over one another, one of them with a dotted name and one with a result."""
    folder = sources / f"shop-{tenant.project_id}"
    orders = write_parquet(folder / "orders.parquet", id=[1, 2], buyer=[7, 8], amount=[10, 20], status=["ok", "no"])
    people = write_parquet(folder / "people.parquet", id=[7, 8], name=["Ada", "Grace"])
    found = {
        "orders": await tenant.add_table("orders", orders),
        "people": await tenant.add_table("people", people),
    }
    for name, sql in [
        ("staging.orders", "SELECT id, buyer AS person, amount FROM orders WHERE status = 'ok'"),
        ("named", "SELECT p.name, o.amount FROM staging.orders AS o JOIN people AS p ON p.id = o.person"),
        ("totals", "SELECT name, sum(amount) AS total, count(*) AS n FROM named GROUP BY name"),
        ("alone", "SELECT 1 AS one"),
    ]:
        if name == "named":
            found[name] = await tenant.materialized(name, sql)
        else:
            found[name] = await tenant.create_view(name, sql)
    return found


def drawn(graph: Json) -> set[tuple[str, str]]:
    """The edges of a graph by name."""
    names = {node["id"]: node["name"] for node in graph["nodes"]}
    return {(names[edge["from"]], names[edge["to"]]) for edge in graph["edges"]}


def refs(found: list[Json]) -> set[Ref]:
    return {(one["node"], one["column"]) for one in found}


def columns(graph: Json, view: str) -> dict[str, set[Ref]]:
    """The columns that each column of a view is computed from. All of it is known."""
    (node,) = [node for node in graph["nodes"] if node["name"] == view]
    assert all(column["complete"] and column["reason"] is None for column in node["columns"])
    return {column["column"]: refs(column["from"]) for column in node["columns"]}


def rows(graph: Json, view: str) -> set[Ref]:
    (node,) = [node for node in graph["nodes"] if node["name"] == view]
    assert node["rows"]["complete"]
    return refs(node["rows"]["depends_on"])


async def test_the_graph_has_every_view_and_table_and_what_reads_what(tenant: Tenant, sources: Path) -> None:
    found = await shop(tenant, sources)
    graph = await tenant.call("GET", GRAPH)
    assert [node["name"] for node in graph["nodes"]] == sorted(found)
    assert {node["name"]: node["id"] for node in graph["nodes"]} == {name: one["id"] for name, one in found.items()}
    assert {node["name"]: node["kind"] for node in graph["nodes"]} == {
        name: "table" if name in {"orders", "people"} else "view" for name in found
    }
    assert drawn(graph) == {
        ("orders", "staging.orders"),
        ("staging.orders", "named"),
        ("people", "named"),
        ("named", "totals"),
    }
    (named,) = [node for node in graph["nodes"] if node["name"] == "named"]
    shown = await tenant.view(found["named"]["id"])
    assert (named["is_materialized"], named["status"]) == (True, "Completed")
    assert named["data_as_of"] == shown["data_as_of"] is not None
    assert {node["status"] for node in graph["nodes"] if node["name"] != "named"} == {None}
    assert all(node["columns"] is None and node["rows"] is None for node in graph["nodes"])


async def test_a_part_of_the_graph_is_that_around_one_of_its_nodes(tenant: Tenant, sources: Path) -> None:
    found = await shop(tenant, sources)
    for asked, expected in [
        ("view=named", {"orders", "people", "staging.orders", "named", "totals"}),
        ("view=NAMED&direction=upstream", {"orders", "people", "staging.orders", "named"}),
        (f"view={found['named']['id']}&direction=downstream", {"named", "totals"}),
        (f"view={found['named']['id'].upper()}&direction=both", set(found) - {"alone"}),
        ("view=people", {"people", "named", "totals"}),
        (f"view={found['people']['id']}&direction=upstream", {"people"}),
        ("view=alone", {"alone"}),
    ]:
        graph = await tenant.call("GET", f"{GRAPH}?{asked}")
        assert {node["name"] for node in graph["nodes"]} == expected, asked
        assert drawn(graph) <= {(a, b) for a in expected for b in expected}


async def test_names_stand_beside_the_ids_of_ancestors_and_descendants(tenant: Tenant, sources: Path) -> None:
    found = await shop(tenant, sources)
    view = found["named"]["id"]
    above = await tenant.act(view, "ancestors")
    assert above["ancestors"] == sorted([found["staging.orders"]["id"], "people"])
    assert above["names"] == {found["staging.orders"]["id"]: "staging.orders", "people": "people"}
    below = await tenant.act(view, "descendants", {"level": "all"})
    assert below == {"descendants": [found["totals"]["id"]], "names": {found["totals"]["id"]: "totals"}}


async def test_columns_are_traced_one_step_and_down_to_tables(tenant: Tenant, sources: Path) -> None:
    await shop(tenant, sources)
    one = await tenant.call("GET", f"{GRAPH}?columns=true")
    assert columns(one, "totals") == {"name": {("named", "name")}, "total": {("named", "amount")}, "n": set()}
    assert rows(one, "totals") == {("named", None), ("named", "name")}
    assert columns(one, "named") == {"name": {("people", "name")}, "amount": {("staging.orders", "amount")}}
    assert columns(one, "alone") == {"one": set()}
    assert all(node["columns"] is None for node in one["nodes"] if node["kind"] == "table")

    deep = await tenant.call("GET", f"{GRAPH}?view=totals&direction=downstream&columns=true&to_tables=true")
    assert [node["name"] for node in deep["nodes"]] == ["totals"]
    assert columns(deep, "totals") == {"name": {("people", "name")}, "total": {("orders", "amount")}, "n": set()}
    assert rows(deep, "totals") == {
        *(("orders", None), ("people", None), ("orders", "status"), ("orders", "buyer")),
        *(("people", "id"), ("people", "name")),
    }


async def test_a_lineage_follows_an_edit_at_once_also_of_an_input(tenant: Tenant, sources: Path) -> None:
    found = await shop(tenant, sources)
    view = found["staging.orders"]
    assert columns(await tenant.call("GET", f"{GRAPH}?to_tables=true"), "named")["amount"] == {("orders", "amount")}
    query = {"query": "SELECT id, buyer AS person, amount * id AS amount FROM orders"}
    await tenant.call("PATCH", f"{VIEWS}{view['id']}/", {"query": query, "soft_update": True})
    graph = await tenant.call("GET", f"{GRAPH}?to_tables=true")
    assert columns(graph, "named")["amount"] == {("orders", "amount"), ("orders", "id")}
    assert ("orders", "status") not in rows(graph, "named")


async def test_what_is_not_known_is_said_and_only_there(tenant: Tenant, sources: Path) -> None:
    """The result of `named` has a column that its query has no more; a view of it does not bind any more either."""
    found = await shop(tenant, sources)
    query = {"query": "SELECT p.name, 1 AS other FROM people AS p"}
    await tenant.call(
        "PATCH", f"{VIEWS}{found['named']['id']}/", {"query": query, "soft_update": True, "break_dependents": True}
    )
    graph = await tenant.call("GET", f"{GRAPH}?to_tables=true")
    (totals,) = [node for node in graph["nodes"] if node["name"] == "totals"]
    by_name = {column["column"]: column for column in totals["columns"]}
    assert by_name["name"]["complete"]
    assert refs(by_name["name"]["from"]) == {("people", "name")}
    assert not by_name["total"]["complete"]
    assert by_name["total"]["from"] == []
    assert by_name["total"]["reason"] == ('The query of "named" was changed: its next result has no column "amount".')

    await tenant.act(found["named"]["id"], "revert_materialization")  # now readers see the columns of the query
    graph = await tenant.call("GET", f"{GRAPH}?columns=true")
    (totals,) = [node for node in graph["nodes"] if node["name"] == "totals"]
    assert not totals["rows"]["complete"]
    assert [column["column"] for column in totals["columns"]] == ["name", "total", "n"]
    assert all('Referenced column "amount" not found' in column["reason"] for column in totals["columns"])


async def test_a_deleted_view_is_in_no_graph(tenant: Tenant, sources: Path) -> None:
    found = await shop(tenant, sources)
    await tenant.call("DELETE", f"{VIEWS}{found['totals']['id']}/", expect=204)
    graph = await tenant.call("GET", GRAPH)
    assert "totals" not in {node["name"] for node in graph["nodes"]}
    assert ("named", "totals") not in drawn(graph)
    await tenant.error("GET", f"{GRAPH}?view=totals", status=404)


async def test_a_part_around_something_unknown_is_an_error_that_names_it(tenant: Tenant, stack: DevStack) -> None:
    for unknown in ("nothing", str(uuid4()), "a-b"):
        said = await tenant.error("GET", f"{GRAPH}?view={unknown}", status=404)
        assert said["detail"] == f'There is no view or table "{unknown}" in this project.'
    assert (await tenant.error("GET", f"{GRAPH}?direction=sideways", status=400))["attr"] == "direction"
    assert (await tenant.error("GET", f"{GRAPH}?view={'x' * 129}", status=400))["attr"] == "view"
    view = await tenant.create_view("v", "SELECT 1 AS n")
    async with a_tenant(stack) as other:
        await other.error("GET", f"{GRAPH}?view={view['id']}", status=404)
        assert await other.call("GET", GRAPH) == {"nodes": [], "edges": []}
    async with a_tenant(stack, Scope.TABLE_READ) as other:
        await other.error("GET", GRAPH, status=403)
