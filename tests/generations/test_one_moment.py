"""Readers of several views never see a mix of two generations, while their source changes all the time.

`MATVIEW_GENERATIONS` says how many generations are published.
"""

import asyncio
from pathlib import Path

import pytest

from tests.contract.support import number_from_environment
from tests.generations.test_refreshing import refreshed, saved
from tests.support.tenants import Tenant

GENERATIONS = number_from_environment("MATVIEW_GENERATIONS", 12)
READERS = 2
ALL = "SELECT b.k AS b, l.k AS l, r.k AS r, t.l AS tl, t.r AS tr FROM base b, lefts l, rights r, tops t"


async def write_on(path: Path) -> None:
    """Replace the file again and again: each content holds one number, in many rows."""
    number = 0
    while True:
        number += 1
        new = path.with_suffix(".new")
        new.write_text("k\n" + f"{number}\n" * 100)
        new.replace(path)
        await asyncio.sleep(1)


async def read_on(tenant: Tenant, seen: list[tuple[int, ...]]) -> None:
    while True:
        answer = await tenant.call("POST", "/query/", {"query": {"query": ALL}})
        seen += [tuple(row) for row in answer["results"]]


@pytest.mark.timeout(120 + 10 * GENERATIONS)
async def test_a_diamond_is_of_one_moment_at_every_moment(tenant: Tenant, sources: Path) -> None:
    path = sources / f"moment-{tenant.project_id}.csv"
    path.write_text("k\n0\n")
    await tenant.add_table("src", path, "CSVWithNames")
    await saved(
        tenant,
        base="SELECT max(k) AS k FROM src",
        lefts="SELECT k FROM base",
        rights="SELECT max(base.k) AS k FROM base, src",
        tops="SELECT l.k AS l, r.k AS r FROM lefts l, rights r",
    )
    assert (await refreshed(tenant))["status"] == "Completed"
    seen: list[tuple[int, ...]] = []
    others = [
        asyncio.create_task(write_on(path)),
        *(asyncio.create_task(read_on(tenant, seen)) for _ in range(READERS)),
    ]
    published = 0
    try:
        while published < GENERATIONS:
            # One may find nothing changed, or fail since the source changed too often. Then nothing of it is seen.
            published += (await refreshed(tenant))["status"] == "Completed"
    finally:
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    mixed = [row for row in seen if len(set(row)) != 1]
    assert not mixed, f"{len(mixed)} of {len(seen)} reads"
    assert len(set(seen)) > GENERATIONS // 3
