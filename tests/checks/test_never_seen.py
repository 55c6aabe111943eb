"""Readers never see rows on which an `error` check fails, while data is bad at random and workers are killed.

`MATVIEW_GENERATIONS` says how many generations are refreshed.
"""

import asyncio
import itertools
import time
from pathlib import Path
from random import Random

import pytest

from orchestrator.devstack.stack import DevStack
from tests.checks.test_gate import add
from tests.contract.support import number_from_environment
from tests.generations.test_refreshing import refreshed, saved
from tests.support.tenants import Json, Tenant

GENERATIONS = number_from_environment("MATVIEW_GENERATIONS", 15)
SEED = number_from_environment("MATVIEW_CHECKS_SEED", 1)
KILLED_EVERY = 5
# A result is bad if an amount is missing or an id occurs twice, and each result holds rows of one content alone.
ALL = (
    "SELECT count(*) FILTER (o.amount IS NULL) AS missing, count(*) - count(DISTINCT o.id) AS double, "
    "min(o.content) AS low, max(o.content) AS high, any_value(t.content) AS total FROM orders o, totals t"
)


class Source:
    """A file whose content is good or bad, and which numbers its contents."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.random = Random(SEED)  # noqa: S311 - it has to be repeatable
        self._numbers = itertools.count(1)
        self.is_good: dict[int, bool] = {}

    def write(self) -> None:
        number = next(self._numbers)
        kind = self.random.choice(("good", "good", "missing", "double", "both"))
        rows = [(n, n * 10) for n in range(50)]
        lines = [f"{n},{amount},{number}" for n, amount in rows]
        if kind in {"missing", "both"}:
            lines[self.random.randrange(50)] = f"7,,{number}"
        if kind in {"double", "both"}:
            lines.append(f"1,10,{number}")
        if kind == "missing":
            lines = [line for line in lines if not line.startswith("7,") or ",," in line]
        self.is_good[number] = kind == "good"
        new = self.path.with_suffix(".new")
        new.write_text("\n".join(["id,amount,content", *lines]) + "\n")
        new.replace(self.path)


async def read_on(tenant: Tenant, seen: list[Json]) -> None:
    while True:
        answer = await tenant.call("POST", "/query/", {"query": {"query": ALL}})
        seen += [dict(zip(answer["columns"], row, strict=True)) for row in answer["results"]]


@pytest.mark.timeout(240 + 20 * GENERATIONS)
async def test_no_reader_ever_sees_a_result_that_a_check_failed_on(
    stack: DevStack, tenant: Tenant, sources: Path
) -> None:
    source = Source(sources / f"bad-{tenant.project_id}.csv")
    source.write()
    while not source.is_good[max(source.is_good)]:
        source.write()
    await tenant.add_table("raw", source.path, "CSVWithNames")
    views = await saved(
        tenant,
        orders="SELECT id, amount, content FROM raw",
        totals="SELECT max(content) AS content, sum(amount)::BIGINT AS s FROM orders",
    )
    await add(tenant, views["orders"], "not_null", column_name="amount")
    await add(tenant, views["orders"], "unique", column_name="id")
    assert (await refreshed(tenant))["status"] == "Completed"
    seen: list[Json] = []
    readers = [asyncio.create_task(read_on(tenant, seen)) for _ in range(2)]
    ended: list[str] = []
    kills: list[float] = []
    try:
        for number in range(GENERATIONS):
            source.write()
            # A worker that dies five times in half a minute is not started again.
            if number % KILLED_EVERY == 0 and sum(time.monotonic() - one < 35 for one in kills) < 4:
                kills.append(time.monotonic())
                asyncio.get_running_loop().call_later(source.random.uniform(0, 0.5), stack.kill, "worker")
            ended.append((await refreshed(tenant))["status"])
    finally:
        for one in readers:
            one.cancel()
        failed = [one for one in await asyncio.gather(*readers, return_exceptions=True) if isinstance(one, Exception)]
    assert not failed
    wrong = [one for one in seen if one["missing"] or one["double"] or len({*list(one.values())[2:]}) != 1]
    assert not wrong, f"{len(wrong)} of {len(seen)} reads: {wrong[:3]}"
    assert all(source.is_good[one["low"]] for one in seen)
    good = sum(source.is_good[number] for number in list(source.is_good)[-GENERATIONS:])
    assert ended.count("Completed") == good
    assert len({one["low"] for one in seen}) > good // 2
    assert set(ended) == {"Completed", "Failed"}, "each of them is what the test is about"
