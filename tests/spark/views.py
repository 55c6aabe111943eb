"""Views on the cluster, as clients save them."""

from typing import Any

from tests.support.tenants import Json, Tenant


async def save(tenant: Tenant, name: str, sql: str, *, expect: int = 201, **more: Any) -> Json:
    """Save a view with the engine spark. `more` are further fields of its query."""
    query = {"kind": "HogQLQuery", "query": sql, "engine": "spark", **more}
    return await tenant.call("POST", "/warehouse_saved_queries/", {"name": name, "query": query}, expect=expect)


async def refused(tenant: Tenant, sql: str, **more: Any) -> str:
    """Why a view is refused when it is saved."""
    query = {"kind": "HogQLQuery", "query": sql, "engine": "spark", **more}
    error = await tenant.error("POST", "/warehouse_saved_queries/", {"name": "refused", "query": query}, status=400)
    return str(error["detail"])


async def materialized(tenant: Tenant, name: str, sql: str, **more: Any) -> Json:
    """A new view on the cluster whose first run has ended, however it did."""
    view = await save(tenant, name, sql, **more)
    await tenant.act(view["id"], "materialize")
    await tenant.ended(view["id"])
    return await tenant.view(view["id"])


async def rows(tenant: Tenant, sql: str) -> list[list[Any]]:
    found: list[list[Any]] = (await tenant.call("POST", "/query/", {"query": {"query": sql}}))["results"]
    return found
