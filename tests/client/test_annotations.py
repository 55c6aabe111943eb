"""The tools with which PostHog's own client describes views, tables and their columns."""

from pathlib import Path

from tests.client.support import Client
from tests.support.tenants import Tenant, write_parquet


async def test_views_and_their_columns_are_described(client: Client, tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    said = await client.call(
        "saved-query-column-annotations-create", saved_query=view["id"], column_name="n", description="a number"
    )
    assert (said["column_name"], said["description"], said["source"]) == ("n", "a number", "user_edited")
    await client.call("saved-query-column-annotations-create", saved_query=view["id"], description="a view")
    found = await client.call("saved-query-column-annotations-list", saved_query_id=view["id"], limit=10, offset=0)
    assert [(one["column_name"], one["description"]) for one in found["results"]] == [("", "a view"), ("n", "a number")]
    shown = await tenant.view(view["id"])
    assert (shown["description"], shown["columns"][0]["description"]) == ("a view", "a number")
    unknown = await client.attempt(
        "saved-query-column-annotations-create", saved_query=view["id"], column_name="m", description="x"
    )
    unknown.refused('This view has no column "m".')


async def test_source_tables_and_their_columns_are_described(client: Client, tenant: Tenant, sources: Path) -> None:
    table = await tenant.add_table("t", write_parquet(sources / f"noted-{tenant.project_id}.parquet", id=[1]))
    said = await client.call(
        "warehouse-column-annotations-create", table=table["id"], column_name="id", description="a key"
    )
    edited = await client.call("warehouse-column-annotations-partial-update", id=said["id"], description="the key")
    assert (edited["id"], edited["description"]) == (said["id"], "the key")
    found = await client.call("warehouse-column-annotations-list", table_id=table["id"])
    assert [(one["column_name"], one["description"]) for one in found["results"]] == [("id", "the key")]
