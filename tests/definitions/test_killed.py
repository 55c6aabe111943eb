"""A change of a whole project is made or not, no matter when the API is killed."""

import asyncio
import random
from pathlib import Path

import httpx
import pytest

from tests.contract.support import number_from_environment
from tests.definitions.project import view
from tests.support.tenants import Json, Tenant, a_tenant, dev_stack, until

ROUNDS = number_from_environment("MATVIEW_RACE_ROUNDS", 4)
# The stack gives up a child that dies five times within thirty seconds.
MOST_AT_ONCE = 4
COUNT = 30


def project(number: int) -> Json:
    """All views are of one number; in even ones some are materialized, in odd ones one has another name."""
    views = [view(f"v_{n}", f"SELECT {number} AS number, {n} AS n", None) for n in range(COUNT)]
    views.append(view(f"named_{number % 2}", f"SELECT number + {number} AS number FROM v_0", None))
    for one in views[1:4]:
        one["sync_frequency"] = "24hour" if number % 2 == 0 else None
    return {"views": views, "prune": True, "refresh": False}


async def current(tenant: Tenant) -> list[Json]:
    """The views as they are, once the API is there again."""

    async def ask() -> list[Json] | None:
        try:
            found: list[Json] = (await tenant.call("GET", "/definitions/"))["views"]
        except httpx.TransportError:
            return None
        return found

    return await until(ask, "the API")


def number_of(views: list[Json]) -> int:
    """The number of a project that is whole; fails for one that is partly of another."""
    (number,) = {int(one["query"]["query"].split()[1]) for one in views if one["name"].startswith("v_")}
    assert {one["name"] for one in views} == {one["name"] for one in project(number)["views"]}
    assert {one["name"]: one["sync_frequency"] for one in views} == {
        one["name"]: one["sync_frequency"] for one in project(number)["views"]
    }
    return number


@pytest.mark.timeout(60 + 20 * ROUNDS)
async def test_a_killed_api_leaves_a_project_as_before_or_as_after(tmp_path: Path) -> None:
    chance = random.Random(7)  # noqa: S311 - of moments
    async with dev_stack(tmp_path / "home") as stack, a_tenant(stack) as tenant:
        await tenant.call("POST", "/definitions/apply/", project(0))
        before = 0
        for number in range(1, ROUNDS + 1):
            change = asyncio.create_task(tenant.http.post("/definitions/apply/", json=project(number)))
            await asyncio.sleep(chance.uniform(0.02, 0.4))
            stack.kill("api")
            await asyncio.gather(change, return_exceptions=True)
            now = number_of(await current(tenant))
            assert now in {before, number}
            before = now
            if ROUNDS > MOST_AT_ONCE:
                await asyncio.sleep(7.6)
        await tenant.call("POST", "/definitions/apply/", project(before + 1))
        assert number_of(await current(tenant)) == before + 1
