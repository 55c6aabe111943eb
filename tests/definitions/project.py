"""A project of three sources and ten views that read one another, as its author would write it."""

from pathlib import Path

from tests.support.tenants import Json, Tenant

VIEWS = {
    "stg_orders": "SELECT id, customer, amount::DECIMAL(10, 2) AS amount, day::DATE AS day FROM orders",
    "stg_customers": "SELECT id, upper(name) AS name, country FROM customers",
    "stg_returns": "SELECT order_id FROM returns",
    "kept_orders": "SELECT o.* FROM stg_orders o LEFT JOIN stg_returns r ON r.order_id = o.id WHERE r.order_id IS NULL",
    "orders_by_day": "SELECT day, count(*) AS orders, sum(amount) AS amount FROM kept_orders GROUP BY day",
    "orders_by_customer": "SELECT customer, count(*) AS orders, sum(amount) AS amount FROM kept_orders GROUP BY 1",
    "buyers": "SELECT c.name, o.amount FROM stg_customers c JOIN orders_by_customer o ON o.customer = c.id",
    "countries": (
        "SELECT c.country, sum(o.amount) AS amount FROM stg_customers c "
        "JOIN orders_by_customer o ON o.customer = c.id GROUP BY 1"
    ),
    "best": "SELECT name FROM buyers ORDER BY amount DESC LIMIT 1",
    "total": "SELECT sum(amount) AS amount FROM orders_by_day",
}
PLAIN = {"stg_returns", "kept_orders"}
SOURCES = {
    "orders": "id,customer,amount,day\n1,1,10.50,2026-01-01\n2,2,20.00,2026-01-01\n3,1,5.25,2026-01-02\n",
    "customers": "id,name,country\n1,ada,UK\n2,grace,US\n",
    "returns": "order_id\n3\n",
}


def definitions(folder: Path) -> Json:
    """The files of its sources below `folder`, and the body of a request that defines all of it."""
    for name, text in SOURCES.items():
        (folder / f"{name}.csv").write_text(text)
    return {
        "tables": [
            {"name": name, "format": "CSVWithNames", "url_pattern": str(folder / f"{name}.csv")} for name in SOURCES
        ],
        "views": [view(name, sql, None if name in PLAIN else "24hour") for name, sql in reversed(VIEWS.items())],
    }


def view(name: str, sql: str, every: str | None = "24hour", **more: object) -> Json:
    return {"name": name, "query": {"kind": "SQLQuery", "query": sql}, "sync_frequency": every, **more}


async def plan(tenant: Tenant, body: Json) -> Json:
    return await tenant.call("POST", "/definitions/plan/", body)


async def apply(tenant: Tenant, body: Json) -> Json:
    return await tenant.call("POST", "/definitions/apply/", body)


async def names(tenant: Tenant) -> set[str]:
    found = await tenant.call("GET", "/definitions/")
    return {one["name"] for one in found["views"] + found["tables"]}
