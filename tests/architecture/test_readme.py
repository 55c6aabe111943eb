"""The tables of the README that are about the code say what the code says."""

import re
from pathlib import Path

from fastapi import APIRouter
from fastapi.routing import APIRoute

from api import (
    annotations,
    checks,
    conditions,
    data,
    definitions,
    diffs,
    generations,
    lineage,
    queries,
    saved_queries,
    snapshots,
    source_tables,
    tries,
)
from orchestrator.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def routes(router: APIRouter) -> set[tuple[str, str, str]]:
    found = set()
    for route in router.routes:
        assert isinstance(route, APIRoute)
        scopes = {
            str(scope)
            for dependency in route.dependant.dependencies
            for inner in dependency.dependencies
            for scope in inner.own_oauth_scopes or []
        }
        scope = ", ".join(f"`{one}`" for one in sorted(scopes, reverse=True))
        (method,) = route.methods or set()
        found.add((method, route.path.removeprefix("/api/projects/{project_id}"), scope))
    return found


def test_the_table_of_endpoints_is_that_of_the_code() -> None:
    documented = set(
        re.findall(r"^\| `(GET|HEAD|POST|PATCH|PUT|DELETE) (/\S+)` \| (`[^|]*`) \|", README, flags=re.MULTILINE)
    )
    routers = (
        annotations.tables,
        annotations.views,
        checks.router,
        checks.tables,
        conditions.router,
        data.router,
        definitions.router,
        diffs.router,
        lineage.router,
        generations.router,
        lineage.router,
        queries.router,
        saved_queries.router,
        snapshots.router,
        source_tables.router,
        tries.router,
    )
    assert documented == set().union(*map(routes, routers))


def test_every_setting_is_in_the_example_file() -> None:
    documented = set(re.findall(rf"^(?:# )?({PREFIX}\w+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    internal = {f"{PREFIX}READY_FILE"}
    assert documented == {PREFIX + name.upper() for name in Settings.model_fields} - internal
