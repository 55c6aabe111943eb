"""The source table tools of PostHog's own client."""

from pathlib import Path

from tests.client.support import Client, unwrapped
from tests.support.tenants import Tenant, write_parquet

# The client requires a credential, also where none is needed.
CREDENTIAL = {"access_key": "the-key", "access_secret": "the-secret"}


async def test_a_table_is_created_and_its_schema_read_again(client: Client, tenant: Tenant, sources: Path) -> None:
    file = write_parquet(sources / "client" / str(tenant.project_id) / "1.parquet", n=[1, 2])
    said = await client.call(
        "warehouse-tables-create", name="events", format="Parquet", url_pattern=str(file), credential=CREDENTIAL
    )
    reported = unwrapped(said)
    table = await tenant.call("GET", f"/warehouse_tables/{reported['id']}/")
    assert {name: table[name] for name in ("id", "name", "format", "url_pattern", "columns")} == reported
    assert [column["name"] for column in table["columns"]] == ["n"]
    assert "the-secret" not in str(table)

    write_parquet(file, n=[1, 2], kind=["a", "b"])
    await client.call("warehouse-tables-refresh-schema-create", id=table["id"])
    table = await tenant.call("GET", f"/warehouse_tables/{table['id']}/")
    assert [(column["name"], column["type"]) for column in table["columns"]] == [("n", "integer"), ("kind", "string")]
    assert [column["name"] for column in (await tenant.create_view("v", "SELECT kind FROM events"))["columns"]] == [
        "kind"
    ]


async def test_files_that_are_not_there_are_refused(client: Client, tenant: Tenant, sources: Path) -> None:
    pattern = str(sources / "nothing" / "*.parquet")
    refused = await client.attempt(
        "warehouse-tables-create", name="events", format="Parquet", url_pattern=pattern, credential=CREDENTIAL
    )
    refused.refused("Validation error: ", pattern)
    assert (await tenant.call("GET", "/warehouse_tables/"))["count"] == 0
