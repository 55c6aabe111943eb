"""The copies of a generation: of one moment, ended by a cancel, made again after a death, and swept."""

import asyncio
import json
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from orchestrator.catalog import source_copies
from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.reconciliation.files import FileReconciler
from orchestrator.stores.local import LocalStore
from tests.acceptance.reconciling import KEEP_ALL
from tests.database_sources.conftest import Schema, add, rows_of
from tests.generations.test_refreshing import refreshed, statuses
from tests.support.postgres_server import USER
from tests.support.tenants import Json, Tenant, until

# Rows that come slowly, for minutes.
SLOW = "CREATE VIEW {} AS SELECT g AS n, pg_sleep(0.02)::text AS t FROM generate_series(1, 100000) g"
IN_PROGRESS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'matview' AND query LIKE '%{}%'"


def copies_of(tenant: Tenant, table: Json) -> set[str]:
    """The folders of copies of a table, sealed or being written."""
    found = [*tenant.data_dir.glob(f"*/{tenant.project_id}/{table['id']}/*")]
    return {path.relative_to(tenant.data_dir).as_posix() for path in found}


async def reconcile(stack: DevStack, catalog: Database) -> None:
    files = FileReconciler(catalog, LocalStore(Path(stack.info["data_dir"])), KEEP_ALL)
    for step in (files.remove_expired, files.delete_orphaned):
        async for _ in step(False):
            pass


async def in_progress(schema: Schema) -> int:
    ((found,),) = await schema.run(IN_PROGRESS.format(schema.name))
    return int(found)


async def slow_view(tenant: Tenant, schema: Schema) -> tuple[Json, Json]:
    """A source table whose copy takes minutes, and a view of it whose run copies it now."""
    await schema.run(SLOW.format("slow"), "GRANT SELECT ON slow TO reader")
    table = await add(tenant, schema, "slow")
    view = await tenant.create_view("v", "SELECT count(*) AS n FROM slow")
    await tenant.act(view["id"], "materialize")

    async def ask() -> bool:
        return await in_progress(schema) > 0 and bool(copies_of(tenant, table))

    await until(ask, "the copy")
    return table, view


async def test_two_tables_are_of_one_moment(tenant: Tenant, schema: Schema) -> None:
    """Money moves between them all the time, and the sum of both is always the same."""
    for name in ("a", "b"):
        await schema.create(name, "id int, amount bigint")
        await schema.run(f"INSERT INTO {name} SELECT g, 1000 FROM generate_series(1, 20000) g")
        await add(tenant, schema, name)
    await tenant.materialized("sum_a", "SELECT sum(amount)::BIGINT AS s FROM a")
    await tenant.materialized("sum_b", "SELECT sum(amount)::BIGINT AS s FROM b")
    await tenant.materialized("together", "SELECT a.s + b.s AS s FROM sum_a a, sum_b b")
    stopped = asyncio.Event()
    moved = 0

    async def move() -> None:
        nonlocal moved
        while not stopped.is_set():
            moved += 1
            await schema.run(
                f"BEGIN; UPDATE a SET amount = amount - 7 WHERE id = {moved}; "
                f"UPDATE b SET amount = amount + 7 WHERE id = {moved}; COMMIT"
            )

    moving = asyncio.create_task(move())
    seen = set()
    try:
        for _ in range(5):
            assert set(statuses(await refreshed(tenant)).values()) <= {"Completed", "Skipped"}
            assert await rows_of(tenant, "SELECT s FROM together") == [[40_000_000]]
            seen.add(str(await rows_of(tenant, "SELECT s FROM sum_a")))
    finally:
        stopped.set()
        await moving
    assert len(seen) > 1, "or nothing moved"


@pytest.mark.parametrize("may_read", ["all of it", "some columns, so that it cannot be locked"])
async def test_a_table_that_is_emptied_and_filled_again_in_the_meantime_is_never_read_as_empty(
    tenant: Tenant, schema: Schema, may_read: str
) -> None:
    """To a transaction that began before, PostgreSQL shows a table that was truncated since then without rows."""
    await schema.create("t", "n int", "(1)")
    if may_read != "all of it":
        await schema.run(f"REVOKE ALL ON t FROM {USER}", f"GRANT SELECT (n) ON t TO {USER}")
    await add(tenant, schema, "t")
    await tenant.materialized("v", "SELECT n FROM t")
    filling = asyncio.create_task(
        schema.run("BEGIN; TRUNCATE t; INSERT INTO t VALUES (2), (3); SELECT pg_sleep(4); COMMIT")
    )

    async def is_locked() -> bool:
        locks = (
            "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock' AND granted"
        )
        return bool((await schema.run(locks))[0][0])

    await until(is_locked, "a table that is being filled")
    assert statuses(await refreshed(tenant, "v")) == {"v": "Completed"}
    await filling
    assert await rows_of(tenant, "SELECT n FROM v ORDER BY n") == [[2], [3]]


async def test_a_cancel_ends_the_statement_on_the_server_and_leaves_no_file(
    tenant: Tenant, schema: Schema, shared_catalog: Database
) -> None:
    table, view = await slow_view(tenant, schema)
    began = asyncio.get_running_loop().time()
    await tenant.act(view["id"], "cancel")
    assert asyncio.get_running_loop().time() - began < 5
    assert await in_progress(schema) == 0
    (run,) = await tenant.history(view["id"])
    assert run["status"] == "Cancelled"
    assert not copies_of(tenant, table)
    async with shared_catalog.begin() as tx:
        rows = await tx.exec_driver_sql(f"SELECT 1 FROM source_copies WHERE source_table_id = '{table['id']}'")
        assert not rows.all()


async def test_a_copy_whose_worker_was_killed_is_made_by_the_next_one_and_nothing_of_it_stays(
    tenant: Tenant, schema: Schema, stack: DevStack, shared_catalog: Database
) -> None:
    table, view = await slow_view(tenant, schema)
    (left,) = copies_of(tenant, table)
    stack.kill("worker")

    async def another() -> bool:
        return bool(copies_of(tenant, table) - {left})

    await until(another, "the copy of the next worker")

    async def is_replaced() -> bool:
        """A statement that reads the view has it locked: that of the killed worker too, until the server notices."""
        try:
            await schema.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'matview'",
                "SET lock_timeout = '1s'",
                "CREATE OR REPLACE VIEW slow AS SELECT 1 AS n, ''::text AS t",
            )
        except psycopg.errors.LockNotAvailable:
            return False
        return True

    await until(is_replaced, "a quick view in place of the slow one")
    run = await tenant.ended(view["id"])
    assert (run["status"], run["error"]) == ("Completed", None), "a lost connection is tried again"
    assert await rows_of(tenant, "SELECT n FROM v") == [[1]]
    await reconcile(stack, shared_catalog)
    assert len(copies_of(tenant, table)) == 1
    assert left not in copies_of(tenant, table)


async def test_only_the_newest_copy_is_kept_and_none_of_a_table_that_is_deleted(
    tenant: Tenant, schema: Schema, stack: DevStack, shared_catalog: Database
) -> None:
    await schema.create("t", "n int", "(1)")
    table = await add(tenant, schema, "t")
    view = await tenant.materialized("v", "SELECT n FROM t")
    (first,) = copies_of(tenant, table)
    assert statuses(await refreshed(tenant, "v")) == {"v": "Skipped"}
    assert copies_of(tenant, table) == {first}, "the one that has the same rows stays"
    await schema.run("INSERT INTO t VALUES (2)")
    assert statuses(await refreshed(tenant, "v")) == {"v": "Completed"}
    await reconcile(stack, shared_catalog)
    (second,) = copies_of(tenant, table)
    assert second != first
    assert await rows_of(tenant, "SELECT count(*) FROM t") == [[2]]
    await tenant.call("DELETE", f"/warehouse_saved_queries/{view['id']}/", expect=204)
    await tenant.call("DELETE", f"/warehouse_tables/{table['id']}/", expect=204)
    await reconcile(stack, shared_catalog)
    assert not copies_of(tenant, table)
    await reconcile(stack, shared_catalog)
    async with shared_catalog.begin() as tx:
        assert not await source_copies.expired(tx, KEEP_ALL.grace)
        rows = await tx.exec_driver_sql(f"SELECT 1 FROM source_copies WHERE source_table_id = '{table['id']}'")
        assert not rows.all()


async def test_a_copy_whose_file_is_lost_is_made_again(tenant: Tenant, schema: Schema) -> None:
    await schema.create("t", "n int", "(1)")
    table = await add(tenant, schema, "t")
    await tenant.materialized("v", "SELECT n FROM t")
    (lost,) = copies_of(tenant, table)
    await asyncio.to_thread((tenant.data_dir / lost / "rows.parquet").unlink)
    await tenant.materialized("w", "SELECT n + 1 AS n FROM t")
    assert await rows_of(tenant, "SELECT t.n, w.n FROM t, w") == [[1, 2]]


async def test_a_copy_that_a_generation_reads_is_kept_although_there_is_a_newer_one(
    tenant: Tenant, schema: Schema, stack: DevStack, shared_catalog: Database, folder: Path
) -> None:
    await schema.create("t", "n int", "(1)")
    table = await add(tenant, schema, "t")
    await tenant.materialized("fast", "SELECT n FROM t")
    gate = folder / "gate.csv"
    await asyncio.to_thread(gate.write_text, "n\n1\n")
    long = "SELECT count(*) AS c FROM range(3000000000) a JOIN t ON a.range % 7 = t.n"
    slow = await tenant.create_view("slow", long)
    await tenant.act(slow["id"], "materialize")
    await tenant.running(slow["id"])
    (first,) = copies_of(tenant, table)
    await schema.run("INSERT INTO t VALUES (2)")
    assert statuses(await refreshed(tenant, "fast")) == {"fast": "Completed"}
    await reconcile(stack, shared_catalog)
    assert first in copies_of(tenant, table)
    await tenant.act(slow["id"], "cancel")
    await reconcile(stack, shared_catalog)
    assert len(copies_of(tenant, table)) == 1


async def schema_table(tenant: Tenant, schema: Schema, name: str) -> Json:
    """A view over a table of one row."""
    await schema.create(name, "n int", "(1)")
    await add(tenant, schema, name)
    return await tenant.create_view(f"of_{name}", f"SELECT n FROM {name}")


async def test_a_copy_has_a_bound_and_what_is_larger_fails_by_name_and_alone(tenant: Tenant, schema: Schema) -> None:
    text = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 300) WHERE g > 0)"
    await schema.create("large", "n int, t text")
    await schema.run(f"INSERT INTO large SELECT g, {text} FROM generate_series(1, 8000) g")
    table = await add(tenant, schema, "large")
    view = await tenant.materialized("v", "SELECT n FROM large")
    (run,) = await tenant.history(view["id"])
    assert run["status"] == "Failed"
    assert run["error"].startswith('Source table "large": The copy of')
    assert "MATVIEW_SOURCE_COPY_MB" in run["error"]
    assert not copies_of(tenant, table)
    more = [await schema_table(tenant, schema, f"small_{number}") for number in range(4)]
    await asyncio.gather(*(tenant.act(one["id"], "materialize", {"run": False}) for one in more))
    found = statuses(await refreshed(tenant))
    assert found == {"v": "Failed", **{f"of_small_{number}": "Completed" for number in range(4)}}


async def test_a_table_that_cannot_be_copied_fails_its_readers_and_no_others(tenant: Tenant, schema: Schema) -> None:
    await schema.create("good", "n int", "(1)")
    await schema.create("bad", "n int, gone int", "(1, 2)")
    await add(tenant, schema, "good")
    bad = await add(tenant, schema, "bad")
    await tenant.materialized("of_good", "SELECT n FROM good")
    await tenant.materialized("of_bad", "SELECT n, gone FROM bad")
    await schema.run("ALTER TABLE bad DROP COLUMN gone", "INSERT INTO good VALUES (5)")
    done = await refreshed(tenant)
    assert statuses(done) == {"of_good": "Completed", "of_bad": "Failed"}
    (failed,) = [one["run"] for one in done["views"] if one["name"] == "of_bad"]
    assert failed["error"].startswith(f'Source table "bad": the column "gone" is not in {schema.name}.bad any more')
    assert await rows_of(tenant, "SELECT * FROM of_bad") == [[1, 2]], "the result of before stays"
    assert await rows_of(tenant, "SELECT count(*) FROM of_good") == [[2]]
    await schema.run("ALTER TABLE bad ALTER COLUMN n TYPE bigint, ADD COLUMN gone int, ADD COLUMN new text")
    (failed,) = [one["run"] for one in (await refreshed(tenant, "of_bad"))["views"]]
    assert 'the column "n" is BIGINT' in failed["error"]
    assert "refresh the schema" in failed["error"]
    path = f"/warehouse_tables/{bad['id']}"
    changes = (await tenant.call("POST", f"{path}/refresh_schema/", {}))["changes"]
    assert [one["name"] for one in (*changes["added"], *changes["retyped"])] == ["new", "n"]
    assert statuses(await refreshed(tenant, "of_bad")) == {"of_bad": "Completed"}


FAULTS: list[tuple[str, str]] = [
    ("DROP TABLE t", "There is no table"),
    ("REVOKE SELECT ON t FROM reader", "may not read the table"),
]


@pytest.mark.parametrize(("statement", "said"), FAULTS)
async def test_what_the_database_refuses_is_final_and_says_which_table(
    tenant: Tenant, schema: Schema, statement: str, said: str
) -> None:
    await schema.create("t", "n int", "(1)")
    await add(tenant, schema, "t")
    view = await tenant.create_view("v", "SELECT n FROM t")
    await schema.run(statement)
    await tenant.act(view["id"], "materialize")
    run = await tenant.ended(view["id"])
    assert run["status"] == "Failed"
    assert run["error"].startswith('Source table "t": ')
    assert said in run["error"]
    assert f"{schema.name}.t" in run["error"]


async def test_what_a_version_was_made_from_names_table_moment_and_digest(tenant: Tenant, schema: Schema) -> None:
    await schema.create("t", "n int", "(1)", "(2)")
    await add(tenant, schema, "t")
    view = await tenant.materialized("v", "SELECT n FROM t")
    ((moment,),) = await schema.run("SELECT now()")
    manifest = next((tenant.data_dir / "snapshots").glob(f"{tenant.project_id}/{view['id']}/*/manifest.json"))
    (read,) = json.loads(await asyncio.to_thread(manifest.read_text))["snapshot"]["inputs"]
    (file,) = read["files"]
    assert file["path"] == schema.url("t")
    assert file["identity"].startswith("copy:duckdb-")
    assert ":2:" in file["identity"], "two rows"
    assert abs(datetime.fromisoformat(file["modified_at"]) - moment) < timedelta(minutes=1)
