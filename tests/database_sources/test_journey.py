"""Tables of PostgreSQL as source tables, through the whole product."""

from tests.database_sources.conftest import Schema, add, rows_of
from tests.generations.test_refreshing import refreshed, statuses
from tests.support.tenants import Tenant


async def test_views_read_a_table_and_run_again_only_when_its_rows_have_changed(tenant: Tenant, schema: Schema) -> None:
    await schema.create("orders", "id int primary key, amount numeric(10,2)", "(1, 1.50)", "(2, 2.25)")
    table = await add(tenant, schema, "orders")
    assert [(column["name"], column["type"]) for column in table["columns"]] == [
        ("id", "integer"),
        ("amount", "decimal"),
    ]
    assert table["file_count"] is None
    view = await tenant.materialized("total", "SELECT sum(amount) AS s FROM orders")
    assert (await tenant.history(view["id"]))[0]["error"] is None
    assert await rows_of(tenant, "SELECT s::DOUBLE FROM total") == [[3.75]]
    assert statuses(await refreshed(tenant, "total")) == {"total": "Skipped"}
    await schema.run("UPDATE orders SET amount = amount", "VACUUM FULL orders")
    assert statuses(await refreshed(tenant, "total")) == {"total": "Skipped"}, "other pages, and the same rows"
    await schema.run("UPDATE orders SET amount = 3 WHERE id = 2")
    assert statuses(await refreshed(tenant, "total")) == {"total": "Completed"}
    assert await rows_of(tenant, "SELECT s::DOUBLE FROM total") == [[4.5]]
    assert await rows_of(tenant, "SELECT id FROM orders ORDER BY id") == [[1], [2]]
