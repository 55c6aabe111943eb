"""Shops: projects of views that read one another, whose edits are tried."""

from pathlib import Path
from typing import Any

import duckdb

from orchestrator.catalog.database import Database
from tests.acceptance.test_tries import all_of, over, path_of
from tests.reading.support import rows_of
from tests.support.tenants import Json, Tenant, write_parquet

ORDERS = "SELECT id, customer, amount FROM raw_orders"
EDITED = "SELECT id, customer, amount * 2 AS amount, 'EUR' AS currency FROM raw_orders WHERE id > 1"
# Those that read `orders`: `by_customer` and `total` directly, `best` through `between`, which is not materialized.
BELOW = {
    "by_customer": "SELECT customer, sum(amount) AS amount, count(*) AS n FROM orders GROUP BY ALL",
    "best": "SELECT * FROM between ORDER BY amount DESC LIMIT 1",
    "total": "SELECT (SELECT sum(amount) FROM orders) AS direct, (SELECT sum(amount) FROM best) AS of_best, rate "
    "FROM rates",
}
BETWEEN = "SELECT customer, amount FROM by_customer WHERE n > 0"


class Shop:
    """A project of views over a source table: `orders`, three that read it, and two that do not."""

    def __init__(self, tenant: Tenant, folder: Path) -> None:
        self.tenant = tenant
        self.file = folder / f"try-descendants-{tenant.project_id}" / "orders.parquet"
        self.views: dict[str, Json] = {}

    async def make(self) -> None:
        write_parquet(self.file, id=[1, 2, 3, 4], customer=["a", "b", "a", "c"], amount=[5, 7, 11, 13])
        await self.tenant.add_table("raw_orders", self.file)
        await self._materialized("orders", ORDERS)
        await self._materialized("rates", "SELECT 3 AS rate")
        await self._materialized("beside", "SELECT sum(amount) AS amount FROM raw_orders")
        await self._materialized("by_customer", BELOW["by_customer"])
        self.views["between"] = await self.tenant.create_view("between", BETWEEN)
        await self._materialized("best", BELOW["best"])
        await self._materialized("total", BELOW["total"])

    async def _materialized(self, name: str, sql: str) -> None:
        self.views[name] = await self.tenant.materialized(name, sql)
        assert self.views[name]["status"] == "Completed", self.views[name]

    async def started(self, sql: str) -> Json:
        edit = {"query": {"query": sql}, "descendants": True}
        return await self.tenant.call("POST", path_of(self.views["orders"]), edit, expect=202)

    async def over(self, edit: Json, parameters: str = "") -> Json:
        return await over(self.tenant, self.views["orders"], edit, parameters)

    async def tried(self, sql: str, parameters: str = "") -> Json:
        return await self.over(await self.started(sql), parameters)

    async def member(self, edit: Json, name: str, parameters: str = "") -> Json:
        return await self.tenant.call("GET", path_of(self.views["orders"], edit) + f"?member={name}{parameters}")

    async def promote(self, edit: Json) -> Json:
        return await self.tenant.call("POST", path_of(self.views["orders"], edit, "promote/"))

    async def refused(self, edit: Json) -> Json:
        return await self.tenant.error("POST", path_of(self.views["orders"], edit, "promote/"), status=400)

    async def edit(self, name: str, sql: str) -> None:
        body = {"query": {"query": sql}, "soft_update": True}
        await self.tenant.call("PATCH", f"/warehouse_saved_queries/{self.views[name]['id']}/", body)

    async def refresh(self, name: str) -> None:
        runs = len(await self.tenant.history(self.views[name]["id"]))
        await self.tenant.act(self.views[name]["id"], "run")
        await self.tenant.ended(self.views[name]["id"], runs + 1)

    async def all(self) -> Json:
        """Everything that clients see of the materialized views."""
        return {name: await all_of(self.tenant, view) for name, view in self.views.items() if name != "between"}

    async def rows(self, name: str) -> list[list[Any]]:
        rows: list[list[Any]] = (await rows_of(self.tenant, self.views[name])).json()["results"]
        return rows

    def files(self) -> int:
        return sum(len(self.tenant.files(view)) for view in self.views.values())

    def expected(self, orders: str = EDITED, rate: int = 3) -> dict[str, list[list[Any]]]:
        """The rows of all views as DuckDB computes them from the texts."""
        with duckdb.connect() as plain:
            plain.execute(f"CREATE VIEW raw_orders AS FROM '{self.file}'")
            plain.execute(f"CREATE VIEW rates AS SELECT {rate} AS rate")
            plain.execute(f"CREATE VIEW orders AS {orders}")
            plain.execute(f"CREATE VIEW by_customer AS {BELOW['by_customer']}")
            plain.execute(f"CREATE VIEW between AS {BETWEEN}")
            plain.execute(f"CREATE VIEW best AS {BELOW['best']}")
            plain.execute(f"CREATE VIEW total AS {BELOW['total']}")
            names = ("orders", *BELOW)
            return {name: sorted(map(list, plain.sql(f"FROM {name}").fetchall())) for name in names}


def statuses(edit: Json) -> dict[str, str]:
    return {one["name"]: one["status"] for one in edit["members"]}


async def member_ids(tenant: Tenant, edit: Json) -> list[str]:
    return [row[0] for row in await _asked(tenant, f"SELECT id::text FROM tries WHERE member_of = '{edit['id']}'")]


async def attempts_in_the_catalog(tenant: Tenant, edit: Json) -> dict[str, int]:
    query = f"SELECT plan->>'name', attempt FROM tries WHERE '{edit['id']}' IN (id, member_of)"
    return {row[0]: row[1] for row in await _asked(tenant, query)}


async def _asked(tenant: Tenant, query: str) -> list[Any]:
    database = Database(tenant.database_url, pool_size=1)
    try:
        async with database.begin() as tx:
            return list(await tx.exec_driver_sql(query))
    finally:
        await database.close()


async def members_in_the_catalog(database: Database, edit: Json) -> int:
    return await _count(database, f"SELECT count(*) FROM tries WHERE '{edit['id']}' IN (id, member_of)")


async def pins_in_the_catalog(database: Database, edit: Json) -> int:
    return await _count(database, f"SELECT count(*) FROM source_pins WHERE generation_id = '{edit['id']}'")


async def leases_in_the_catalog(database: Database, edit: Json) -> int:
    return await _count(database, f"SELECT count(*) FROM read_leases WHERE read_id = '{edit['id']}'")


async def _count(database: Database, query: str) -> int:
    async with database.begin() as tx:
        return int((await tx.exec_driver_sql(query)).scalar_one())
