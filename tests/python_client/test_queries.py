"""Queries through the Python client: values, errors, and how a query ends before its last row."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pandas as pd
import polars as pl
import pytest

import matview
from matview.results import END_OF_STREAM
from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from tests.python_client.support import ROOT, a_relay, aside, connected, no_read_is_left, variables
from tests.reading.support import reads_of
from tests.support.tenants import ENDLESS, Tenant, a_tenant, until

ROWS = "SELECT i, repeat('x', 100) AS text FROM range(100000000000) t(i)"
LATE = "SELECT CASE WHEN i < 900000 THEN i ELSE error('too far') END AS i FROM range(1000000) t(i)"


async def test_a_result_comes_as_arrow_pandas_polars_and_batches(tenant: Tenant, mv: matview.Connection) -> None:
    await tenant.materialized("ns.kept", "SELECT i AS a FROM range(200000) t(i)")
    result = mv.query("SELECT a, a * 2 AS b FROM ns.kept ORDER BY a")
    table = await aside(result.to_arrow)
    assert (table.num_rows, table.column("b")[199_999].as_py()) == (200_000, 399_998)
    frame = await aside(result.to_pandas)
    assert isinstance(frame, pd.DataFrame)
    assert int(frame["a"].sum()) == 199_999 * 100_000
    polars = await aside(result.to_polars)
    assert isinstance(polars, pl.DataFrame)
    assert polars.equals(pl.DataFrame(pl.from_arrow(table)))
    batches = await aside(list, result.batches())
    assert len(batches) > 1
    assert sum(batch.num_rows for batch in batches) == 200_000
    assert await reads_of(tenant) == 0


async def test_values_are_bound(mv: matview.Connection) -> None:
    async def one(sql: str, **values: object) -> object:
        (row,) = (await aside(mv.query(sql, values=values).to_arrow)).to_pylist()
        return row

    hostile = "x'; DROP TABLE t; --"
    assert await one("SELECT {text} AS a, $n + 1 AS b", text=hostile, n=41) == {"a": hostile, "b": 42}
    assert await one("SELECT len({list}) AS n, {none} IS NULL AS b", list=[1, 2], none=None) == {"n": 2, "b": True}
    moment = datetime(2024, 2, 29, 12, tzinfo=UTC)
    assert await one("SELECT TIMESTAMPTZ '2024-02-29 12:00:00+00' = {at} AS same", at=moment) == {"same": True}
    assert await one("SELECT DATE '2024-02-29' = {day} AS same", day=date(2024, 2, 29)) == {"same": True}
    assert await one("SELECT 1.10::DECIMAL(9,2) = {n} AS same", n=Decimal("1.10")) == {"same": True}
    assert await one("SELECT {id}::UUID AS id", id=UUID(int=1)) == {"id": str(UUID(int=1))}
    with pytest.raises(TypeError, match="cannot be a set"):
        await one("SELECT {x}", x={1})


async def test_a_result_without_rows_has_its_columns(mv: matview.Connection) -> None:
    result = mv.query("SELECT 1 AS a, 'x' AS b WHERE false")
    assert (await aside(result.to_arrow)).to_pydict() == {"a": [], "b": []}
    assert sum(batch.num_rows for batch in await aside(list, result.batches())) == 0


@pytest.mark.parametrize(
    ("sql", "code", "words"),
    [
        ("SELEC 1", "invalid_query", "syntax error"),
        ("SELECT nothing", "query_failed", 'Referenced column "nothing"'),
        ("SELECT * FROM nothing", "invalid_query", "Table with name nothing does not exist"),
        ("SELECT error('on purpose')", "query_failed", "on purpose"),
        ("DROP TABLE t", "invalid_query", "one SELECT statement"),
    ],
)
async def test_a_query_that_is_refused_or_fails_is_an_error(
    mv: matview.Connection, sql: str, code: str, words: str
) -> None:
    for call in (mv.query(sql).to_arrow, lambda: list(mv.query(sql).batches())):
        with pytest.raises(matview.QueryError) as failed:
            await aside(call)
        assert words in failed.value.detail
        assert (failed.value.code, failed.value.status) == (code, 400)


async def test_an_error_has_its_place_in_the_statement(mv: matview.Connection) -> None:
    with pytest.raises(matview.QueryError) as failed:
        await aside(mv.query("SELECT 1,\n nothing").to_arrow)
    assert failed.value.position is not None
    assert (failed.value.position["line"], failed.value.position["column"]) == (2, 2)


async def test_a_query_that_fails_after_its_first_rows_gives_no_table(tenant: Tenant, mv: matview.Connection) -> None:
    with pytest.raises(matview.Incomplete, match="broke off"):
        await aside(mv.query(LATE).to_arrow)
    seen: list[int] = []

    def read() -> None:
        seen.extend(batch.num_rows for batch in mv.query(LATE).batches())

    with pytest.raises(matview.Incomplete):
        await aside(read)
    assert 0 < sum(seen) < 1_000_000
    await no_read_is_left(tenant)


async def test_a_break_between_two_batches_that_a_proxy_hides_is_noticed(stack: DevStack, tenant: Tenant) -> None:
    """To pyarrow, a stream that breaks off after a batch is whole. So is an answer of HTTP/1.0 to its reader."""
    async with a_relay(stack) as relay:
        relay.hides_breaks = True
        with connected(stack, tenant, f"http://127.0.0.1:{relay.port}") as mv:
            result = mv.query("SELECT i FROM range(10) t(i)")
            assert (await aside(result.to_arrow)).num_rows == 10
            relay.cut_after = relay.forwarded - len(END_OF_STREAM)
            for call in (result.to_arrow, lambda: list(result.batches())):
                with pytest.raises(matview.Incomplete, match="has no end"):
                    await aside(call)


async def test_a_connection_that_is_lost_in_the_middle_of_rows_is_an_error(stack: DevStack, tenant: Tenant) -> None:
    async with a_relay(stack) as relay:
        relay.cut_after = 1_000_000
        with connected(stack, tenant, f"http://127.0.0.1:{relay.port}") as mv, pytest.raises(matview.Incomplete):
            await aside(mv.query(ROWS).to_arrow)
    await no_read_is_left(tenant)


async def test_batches_that_are_closed_early_cancel_the_query(stack: DevStack, tenant: Tenant) -> None:
    async with a_relay(stack) as relay:
        with connected(stack, tenant, f"http://127.0.0.1:{relay.port}") as mv:
            batches = mv.query(ROWS).batches()
            assert (await aside(next, batches)).num_rows > 0
            assert await reads_of(tenant) == 1
            await aside(batches.close)
            asked, cancelled = relay.requests
            assert asked.startswith("POST ")
            assert cancelled.startswith(f"DELETE /api/projects/{tenant.project_id}/query/")
            await no_read_is_left(tenant)
            # A query that was read to its end, or that the server has refused, needs no cancel.
            await aside(mv.query("SELECT 1").to_arrow)
            with pytest.raises(matview.QueryError):
                await aside(mv.query("SELEC 1").to_arrow)
            assert [one.split()[0] for one in relay.requests[2:]] == ["POST", "POST"]


@asynccontextmanager
async def script(stack: DevStack, tenant: Tenant, body: str, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A script of a user, which runs in a process of its own."""
    text = f"import matview, sys\nmv = matview.connect()\n{body}"
    environment = variables(stack, tenant) | {"MATVIEW_API_URL": f"http://127.0.0.1:{port}", "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", text, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    "body",
    [
        f'mv.query("{ENDLESS}").to_arrow()',
        f'mv.query("{ROWS}").to_arrow()',
        f'for batch in mv.query("{ROWS}").batches(): pass',
    ],
    ids=["before its rows", "in a table", "in a loop"],
)
async def test_ctrl_c_cancels_the_query_before_the_script_ends(stack: DevStack, tenant: Tenant, body: str) -> None:
    async with a_relay(stack) as relay, script(stack, tenant, body, relay.port) as process:

        async def runs() -> bool:
            return await reads_of(tenant) == 1

        await until(runs, "the query to run")
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(process.communicate(), 20)
        assert errors.decode().rstrip().endswith("KeyboardInterrupt")
        assert relay.requests[-1].startswith("DELETE ")
        await no_read_is_left(tenant)


async def test_batches_take_no_more_memory_than_a_few_of_them(stack: DevStack, tenant: Tenant) -> None:
    body = """
import resource
mv.query("SELECT 1").to_arrow()
total, before = 0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for batch in mv.query("SELECT i, repeat('x', 1000) || i AS text FROM range(500000) t(i)").batches():
    total += batch.nbytes
print(total >> 20, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    async with script(stack, tenant, body, int(stack.info["api_url"].rpartition(":")[2])) as process:
        output, errors = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, errors.decode()
    total, growth = map(int, output.split())
    assert total > 400
    assert growth < 150


async def test_a_key_without_the_scope_may_not_query(stack: DevStack) -> None:
    async with a_tenant(stack, Scope.VIEW_READ) as tenant:
        with connected(stack, tenant) as mv, pytest.raises(matview.Unauthorized, match="query:read"):
            await aside(mv.query("SELECT 1").to_arrow)
