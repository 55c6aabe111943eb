"""The stable path of a view on the disk: `current/<project>/<view name>/`."""

import asyncio
from pathlib import Path

import duckdb

from orchestrator.devstack.stack import DevStack
from tests.support.tenants import Json, Tenant, until

VIEWS = "/warehouse_saved_queries"


def path_of(tenant: Tenant, name: str) -> Path:
    return tenant.data_dir / "current" / str(tenant.project_id) / name


def rows(tenant: Tenant, name: str) -> list[tuple[object, ...]]:
    """The rows that a tool reads by the path alone."""
    with duckdb.connect() as connection:
        return connection.execute(f"FROM read_parquet('{path_of(tenant, name)}/*.parquet')").fetchall()


async def counter(tenant: Tenant, sources: Path, name: str) -> tuple[Json, Path]:
    """A view of a number in a file."""
    file = sources / f"current-{tenant.project_id}" / f"{name}.csv"
    file.parent.mkdir(exist_ok=True)
    file.write_text("n\n1\n")
    await tenant.add_table(f"table_of_{name}", file, "CSVWithNames")
    return await tenant.materialized(name, f"SELECT n FROM table_of_{name}"), file


async def refreshed(tenant: Tenant, view: Json, file: Path, number: int) -> None:
    file.write_text(f"n\n{number}\n")
    await tenant.act(view["id"], "run")
    await tenant.closed(await tenant.ended(view["id"], number))


async def test_the_path_follows_each_publication_and_each_rollback(tenant: Tenant, sources: Path) -> None:
    view, file = await counter(tenant, sources, "ns.numbers")
    await tenant.closed(await tenant.ended(view["id"]))
    assert rows(tenant, "ns.numbers") == [(1,)]
    await refreshed(tenant, view, file, 2)
    assert rows(tenant, "ns.numbers") == [(2,)]
    await tenant.act(view["id"], "rollback", {"snapshot_id": view["current_snapshot_id"]})
    assert rows(tenant, "ns.numbers") == [(1,)]


async def test_the_path_follows_the_name_and_goes_with_the_result(tenant: Tenant) -> None:
    view = await tenant.materialized("before", "SELECT 1 AS n")
    await tenant.closed(await tenant.ended(view["id"]))
    await tenant.call("PATCH", f"{VIEWS}/{view['id']}/", {"name": "after"})
    assert rows(tenant, "after") == [(1,)]
    assert not path_of(tenant, "before").is_symlink()

    other = await tenant.materialized("before", "SELECT 2 AS n")
    await tenant.closed(await tenant.ended(other["id"]))
    assert (rows(tenant, "before"), rows(tenant, "after")) == ([(2,)], [(1,)])

    await tenant.act(view["id"], "revert_materialization")
    assert not path_of(tenant, "after").is_symlink()
    await tenant.call("DELETE", f"{VIEWS}/{other['id']}/", expect=204)
    assert not path_of(tenant, "before").is_symlink()


async def test_a_reader_of_the_path_sees_one_version_or_another_while_it_moves(tenant: Tenant, sources: Path) -> None:
    view, file = await counter(tenant, sources, "moving")
    await tenant.closed(await tenant.ended(view["id"]))
    over = asyncio.Event()
    seen: list[object] = []

    async def look() -> None:
        while not over.is_set():
            seen.extend(value for (value,) in await asyncio.to_thread(rows, tenant, "moving"))

    looking = asyncio.create_task(look())
    for number in range(2, 6):
        await refreshed(tenant, view, file, number)
    over.set()
    await looking
    assert seen == sorted(seen, key=str)
    assert set(seen) <= {1, 2, 3, 4, 5}
    assert seen[-1] == 5 or rows(tenant, "moving") == [(5,)]


async def test_the_reconciler_repairs_a_path_that_is_wrong_or_missing(stack: DevStack, tenant: Tenant) -> None:
    view = await tenant.materialized("lost", "SELECT 1 AS n")
    await tenant.closed(await tenant.ended(view["id"]))
    path_of(tenant, "lost").unlink()
    path_of(tenant, "of_nobody").symlink_to("../nowhere")
    await stack.restart("worker")

    async def is_repaired() -> bool:
        return path_of(tenant, "lost").is_dir() and not path_of(tenant, "of_nobody").is_symlink()

    await until(is_repaired, "the reconciler of a worker that starts")
    assert rows(tenant, "lost") == [(1,)]
