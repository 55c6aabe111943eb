"""Source files that change while a generation reads them: what is published was made from the same files."""

from pathlib import Path

from tests.generations.test_refreshing import PATH, finished, saved, started, statuses
from tests.support.tenants import Json, Tenant, until, write_parquet


def taking(steps: int) -> str:
    """A query that gives one row, after some seconds for each thousand steps."""
    return f"SELECT count(*) AS n FROM range(40000) a(n), range({steps}) b(n) WHERE sqrt(a.n * b.n) % 97 < 1"


async def phase_of(tenant: Tenant, generation: Json, name: str) -> str | None:
    shown = await tenant.call("GET", f"{PATH}{generation['id']}/")
    phases: dict[str, str | None] = {one["name"]: one["phase"] for one in shown["views"]}
    return phases.get(name)


async def table(tenant: Tenant, sources: Path) -> Path:
    path = write_parquet(sources / f"moving-{tenant.project_id}.parquet", a=[1])
    await tenant.add_table("moving", path)
    return path


def replace(path: Path, *values: int) -> None:
    write_parquet(path.with_suffix(".new"), a=list(values)).replace(path)


async def values(tenant: Tenant, view: Json) -> list[int]:
    return sorted(row["a"] for row in await tenant.rows(view))


async def test_a_file_that_is_replaced_between_two_reads_has_all_readers_run_again(
    tenant: Tenant, sources: Path
) -> None:
    path = await table(tenant, sources)
    views = await saved(
        tenant, first="SELECT a FROM moving", long=taking(4_000), last="SELECT moving.a FROM moving, long"
    )
    generation = await started(tenant)

    async def is_read() -> bool:
        return await phase_of(tenant, generation, "first") == "written"

    await until(is_read, "the first read")
    replace(path, 2, 3)
    done = await finished(tenant, generation)
    assert set(statuses(done).values()) == {"Completed"}
    assert [await values(tenant, views[name]) for name in ("first", "last")] == [[2, 3], [2, 3]]


async def test_a_query_that_still_runs_when_its_file_is_pinned_anew_does_not_publish_what_it_read(
    tenant: Tenant, sources: Path
) -> None:
    path = await table(tenant, sources)
    views = await saved(
        tenant,
        slow=f"SELECT moving.a FROM moving, ({taking(2_000)})",
        quick="SELECT 1 AS n",
        last="SELECT moving.a FROM moving, quick",
        lower="SELECT a FROM slow",
    )
    generation = await started(tenant, "slow", "lower", "quick", "last")
    await tenant.running(views["slow"]["id"])
    replace(path, 2, 3)
    done = await finished(tenant, generation)
    assert set(statuses(done).values()) == {"Completed"}
    assert [await values(tenant, views[name]) for name in ("slow", "lower", "last")] == [[2, 3]] * 3


async def test_a_query_that_reads_what_is_made_anew_runs_again_too(tenant: Tenant, sources: Path) -> None:
    path = await table(tenant, sources)
    views = await saved(
        tenant,
        top="SELECT a FROM moving",
        below=f"SELECT top.a FROM top, ({taking(4_000)})",
        long=taking(1_000),
        last="SELECT moving.a FROM moving, long",
    )
    generation = await started(tenant)
    await tenant.running(views["below"]["id"])
    replace(path, 2, 3)
    done = await finished(tenant, generation)
    assert set(statuses(done).values()) == {"Completed"}, [one["run"]["error"] for one in done["views"]]
    assert [await values(tenant, views[name]) for name in ("top", "last", "below")] == [[2, 3]] * 3
