"""Tables of MySQL as source tables, on MariaDB."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.database_sources.conftest import CREDENTIAL, rows_of
from tests.generations.test_refreshing import refreshed, statuses
from tests.support.mariadb_server import MariaDbServer, is_installed, mariadb_server
from tests.support.postgres_server import PASSWORD, USER
from tests.support.tenants import Json, Tenant, until


@pytest.fixture(scope="module")
async def mariadb(session_folder: Path, mysql_port: int) -> AsyncIterator[MariaDbServer]:
    if not is_installed() and not os.environ.get("CI"):
        pytest.skip("no MariaDB: install it (on Debian: apt install mariadb-server)")
    async with mariadb_server(session_folder / "mariadb", mysql_port) as running:
        yield running


@dataclass(frozen=True)
class Schema:
    """A database of a test's own in the server."""

    server: MariaDbServer
    name: str

    async def run(self, *statements: str) -> Any:
        return await asyncio.to_thread(self.server.run, f"USE {self.name}", *statements)

    async def add(self, tenant: Tenant, table: str, **more: object) -> Json:
        url = self.server.url(f"{self.name}.{table}")
        body = {"name": table, "format": "MySQL", "url_pattern": url, "credential": CREDENTIAL}
        return await tenant.call("POST", "/warehouse_tables/", body | more, expect=201)


@pytest.fixture
async def schema(mariadb: MariaDbServer, tenant: Tenant) -> Schema:
    made = Schema(mariadb, f"of_{tenant.project_id}")
    grant = f"GRANT SELECT, SHOW VIEW ON {made.name}.* TO {USER}@'127.0.0.1'"
    await asyncio.to_thread(mariadb.run, f"CREATE DATABASE {made.name} CHARACTER SET utf8mb4", grant)
    return made


# The type, a value as SQL, the type in DuckDB, and the value as DuckDB writes it as text.
VALUES = [
    ("BOOLEAN", "true", "TINYINT", "1"),
    ("TINYINT UNSIGNED", "255", "UTINYINT", "255"),
    ("SMALLINT", "-32768", "SMALLINT", "-32768"),
    ("MEDIUMINT", "8388607", "INTEGER", "8388607"),
    ("INT UNSIGNED", "4294967295", "UINTEGER", "4294967295"),
    ("BIGINT", "-9223372036854775808", "BIGINT", "-9223372036854775808"),
    ("BIGINT UNSIGNED", "18446744073709551615", "UBIGINT", "18446744073709551615"),
    ("FLOAT", "1.5", "FLOAT", "1.5"),
    ("FLOAT", "16777215", "FLOAT", "16777215.0"),
    ("DOUBLE", "0.1", "DOUBLE", "0.1"),
    ("DECIMAL(10,2)", "-12345678.90", "DECIMAL(10,2)", "-12345678.90"),
    ("DECIMAL(38,0)", "9" * 38, "DECIMAL(38,0)", "9" * 38),
    ("DECIMAL(65,2)", "1.5", "VARCHAR", "1.50"),
    ("BIT(9)", "b'100000001'", "UBIGINT", "257"),
    ("CHAR(4)", "'ab'", "VARCHAR", "ab"),
    ("VARCHAR(20)", "'a€😀'", "VARCHAR", "a€😀"),
    ("TEXT", "'a\\'b\\\\'", "VARCHAR", "a'b\\"),
    ("BLOB", "x'00ff41'", "BLOB", "\\x00\\xFFA"),
    ("VARBINARY(3)", "x'00'", "BLOB", "\\x00"),
    ("DATE", "'1000-01-01'", "DATE", "1000-01-01"),
    ("DATETIME(6)", "'2024-02-29 23:59:59.999999'", "TIMESTAMP", "2024-02-29 23:59:59.999999"),
    ("TIMESTAMP(3) NULL", "'2024-07-01 12:00:00.5'", "TIMESTAMP WITH TIME ZONE", "2024-07-01 12:00:00.5+00"),
    ("TIME", "'-838:59:59'", "VARCHAR", "-838:59:59"),
    ("YEAR", "2155", "SMALLINT", "2155"),
    ("ENUM('sad','happy')", "'happy'", "VARCHAR", "happy"),
    ("SET('a','b')", "'a,b'", "VARCHAR", "a,b"),
    ("JSON", "'{\"a\": 1}'", "VARCHAR", '{"a": 1}'),
]


async def test_values_of_every_type_are_read_as_they_are(tenant: Tenant, schema: Schema) -> None:
    columns = ", ".join(f"c{number} {kind}" for number, (kind, *_) in enumerate(VALUES))
    values = ", ".join(value for _, value, *_ in VALUES)
    await schema.run(
        "SET time_zone = '+00:00'",
        f"CREATE TABLE t (n INT, {columns})",
        f"INSERT INTO t VALUES (1, {values})",
        "INSERT INTO t (n) VALUES (2)",
    )
    table = await schema.add(tenant, "t")
    found = {column["name"]: column["duckdb_type"] for column in table["columns"]}
    assert found == {"n": "INTEGER", **{f"c{number}": kind for number, (_, _, kind, _) in enumerate(VALUES)}}
    chosen = ", ".join(f"c{number}::VARCHAR AS c{number}" for number in range(len(VALUES)))
    view = await tenant.materialized("v", f"SELECT n, {chosen} FROM t")
    assert (await tenant.history(view["id"]))[0]["error"] is None
    first, second = await rows_of(tenant, "SELECT * FROM v ORDER BY n")
    assert dict(zip(VALUES, first[1:], strict=True)) == {one: one[3] for one in VALUES}
    assert second == [2, *([None] * len(VALUES))]


async def test_views_run_again_only_when_rows_have_changed_and_two_tables_are_of_one_moment(
    tenant: Tenant, schema: Schema
) -> None:
    for name in ("a", "b"):
        await schema.run(
            f"CREATE TABLE {name} (id INT PRIMARY KEY, amount BIGINT) ENGINE = InnoDB",
            f"INSERT INTO {name} SELECT seq, 1000 FROM seq_1_to_5000",
        )
        await schema.add(tenant, name)
    await tenant.materialized("sum_a", "SELECT sum(amount)::BIGINT AS s FROM a")
    await tenant.materialized("sum_b", "SELECT sum(amount)::BIGINT AS s FROM b")
    await tenant.materialized("total", "SELECT a.s + b.s AS s FROM sum_a a, sum_b b")
    assert set(statuses(await refreshed(tenant)).values()) == {"Skipped"}
    stopped = asyncio.Event()
    moved = 0

    async def move() -> None:
        nonlocal moved
        while not stopped.is_set():
            moved += 1
            await schema.run(
                "BEGIN",
                f"UPDATE a SET amount = amount - 7 WHERE id = {moved}",
                f"UPDATE b SET amount = amount + 7 WHERE id = {moved}",
                "COMMIT",
            )

    moving = asyncio.create_task(move())
    seen = set()
    try:
        for _ in range(4):
            assert set(statuses(await refreshed(tenant)).values()) <= {"Completed", "Skipped"}
            assert await rows_of(tenant, "SELECT s FROM total") == [[10_000_000]]
            seen.add(str(await rows_of(tenant, "SELECT s FROM sum_a")))
    finally:
        stopped.set()
        await moving
    assert len(seen) > 1, "or nothing moved"


async def test_a_cancel_ends_the_statement_on_the_server(tenant: Tenant, schema: Schema) -> None:
    await schema.run("CREATE VIEW slow AS SELECT seq AS n, SLEEP(0.02) AS t FROM seq_1_to_100000")
    await schema.add(tenant, "slow")
    view = await tenant.create_view("v", "SELECT count(*) AS n FROM slow")
    await tenant.act(view["id"], "materialize")
    running = f"SELECT count(*) FROM information_schema.processlist WHERE user = '{USER}' AND info LIKE '%slow%'"

    async def ask() -> bool:
        return bool((await schema.run(running))[0][0])

    await until(ask, "the copy")
    await tenant.act(view["id"], "cancel")
    assert not await ask()
    assert (await tenant.history(view["id"]))[0]["status"] == "Cancelled"


async def test_what_the_server_refuses_is_final_and_says_which_table(tenant: Tenant, schema: Schema) -> None:
    await schema.run("CREATE TABLE t (n INT)", "SET sql_mode = ''", "CREATE TABLE d (x DATE)")
    await schema.run("SET sql_mode = ''", "INSERT INTO d VALUES ('0000-00-00')")
    await schema.add(tenant, "d")
    await schema.add(tenant, "t")
    await tenant.create_view("of_t", "SELECT n FROM t")
    of_d = await tenant.materialized("of_d", "SELECT x FROM d")
    error = (await tenant.history(of_d["id"]))[0]["error"]
    assert error.startswith('Source table "d": the column "x" has a value that DATE cannot hold')
    await schema.run("DROP TABLE t")
    of_t = await tenant.materialized("also_of_t", "SELECT n FROM t")
    error = (await tenant.history(of_t["id"]))[0]["error"]
    assert error.startswith(f'Source table "t": There is no table {schema.name}.t')
    body = {"name": "x", "format": "MySQL", "url_pattern": schema.server.url(f"{schema.name}.d")}
    wrong = {"credential": {"access_key": USER, "access_secret": "not-it"}}
    refused = await tenant.error("POST", "/warehouse_tables/", body | wrong, status=400)
    assert "Access denied for user" in refused["detail"]
    assert PASSWORD not in refused["detail"]
