"""The project of the journey as the bodies of requests, and requests that plan and apply definitions."""

from pathlib import Path

from benchmarks.journey.project import PLAIN, SOURCES, VIEWS
from tests.support.tenants import Json, Tenant


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
