"""The commands that read, run as processes against a real stack."""

import asyncio
import io
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.devstack.stack import DevStack
from tests.reading.support import query, reads_of
from tests.support.command_line import MATVIEW, Commands
from tests.support.tenants import ENDLESS, Tenant, until
from tests.support.terminal import Terminal

COUNTS: dict[str, Callable[[bytes], int]] = {
    "csv": lambda raw: len(raw.splitlines()) - 1,
    "ndjson": lambda raw: len([json.loads(line) for line in raw.splitlines()]),
    "parquet": lambda raw: int(pq.read_table(io.BytesIO(raw)).num_rows),
    "arrow": lambda raw: int(pa.ipc.open_stream(raw).read_all().num_rows),
}


@pytest.fixture
def matview(stack: DevStack, tenant: Tenant, tmp_path: Path) -> Commands:
    return Commands(stack, tenant, tmp_path)


async def test_the_rows_of_a_view_are_a_table_that_says_its_version(tenant: Tenant, matview: Commands) -> None:
    view = await tenant.materialized("v", "SELECT i AS id, 'r' || i AS name FROM range(1234) t(i)")
    lines = (await matview("view", "rows", "V")).stdout.decode().splitlines()
    assert [line.split() for line in lines[:3]] == [["id", "name"], ["--", "----"], ["0", "r0"]]
    assert len(lines) == 2 + 20 + 1
    assert lines[-1].startswith(f"(20 of 1,234 rows; version {view['current_snapshot_id']}, as of 20")
    few = (await matview("view", "rows", "v", "--limit", "1", "--columns", "name")).stdout.decode().splitlines()
    assert few[:3] == ["name", "----", "r0"]

    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 2)
    older = await matview("view", "rows", "v", "--snapshot", view["current_snapshot_id"])
    assert f"(20 of 1,234 rows; version {view['current_snapshot_id']}, ".encode() in older.stdout


async def test_every_format_is_written_to_a_file_and_to_a_pipe(tenant: Tenant, matview: Commands) -> None:
    await tenant.materialized("v", "SELECT i, 'r' || i AS s FROM range(100000) t(i)")
    for command in (["view", "rows", "v"], ["query", "SELECT * FROM v ORDER BY i"]):
        for name, count in COUNTS.items():
            file = matview.folder / f"out.{name}"
            await matview(*command, "-o", str(file))
            assert count(file.read_bytes()) == 100_000
            assert (await matview(*command, "--format", name)).stdout == file.read_bytes()
    assert {file.name for file in matview.folder.iterdir()} == {f"out.{name}" for name in COUNTS}


async def test_json_that_has_not_all_rows_says_so(tenant: Tenant, matview: Commands) -> None:
    await tenant.materialized("v", "SELECT i FROM range(60000) t(i)")
    done = await matview("view", "rows", "v", "--format", "json")
    assert len(json.loads(done.stdout)["results"]) == 50_000
    assert done.stderr == b"there are more rows than these 50,000; the other formats have them all\n"
    assert (await matview("view", "rows", "v", "--format", "json", "--limit", "3")).stderr == b""


async def test_a_query_shows_its_rows_and_takes_values(matview: Commands) -> None:
    sql = """SELECT {n} + 1 AS n, $text AS text, NULL AS nothing, 12345678901234567.8::DECIMAL(38,2) AS price,
        unnest({list}) AS one"""
    values = ["--value", "n=41", "--value", "text=it's", "--value", "list=[1, 2]"]
    assert (await matview("query", sql, *values)).stdout.decode().splitlines() == [
        " n  text  nothing                 price  one",
        "--  ----  -------  --------------------  ---",
        "42  it's     null  12345678901234567.80    1",
        "42  it's     null  12345678901234567.80    2",
        "(2 rows)",
    ]
    assert b"(100 rows; there are more" in (await matview("query", "-", stdin="SELECT * FROM range(101)")).stdout
    assert b"PARQUET" not in (await matview("query", "EXPLAIN SELECT 1")).stdout


async def test_a_query_that_fails_says_duckdbs_message(matview: Commands) -> None:
    done = await matview("query", "SELECT nothing\nFROM range(3)", status=1)
    assert done.stderr.decode().startswith("error: ")
    assert 'Referenced column "nothing" not found' in done.stderr.decode()
    assert b"HTTP" not in done.stderr
    late = "SELECT CASE WHEN i < 900000 THEN i ELSE error('too far') END AS i FROM range(1000000) t(i)"
    broken = await matview("query", late, "-o", "out.csv", status=1)
    assert broken.stderr == b"error: the answer broke off: the query failed, or the API ended\n"
    assert list(matview.folder.iterdir()) == []


async def test_ctrl_c_cancels_the_query_on_the_server_and_leaves_no_file(tenant: Tenant, matview: Commands) -> None:
    process = matview.started("query", ENDLESS, "-o", "out.parquet", stderr=subprocess.PIPE)

    async def runs() -> bool:
        return await reads_of(tenant) == 1

    async def is_quiet() -> bool:
        return await reads_of(tenant) == 0

    await until(runs, "the query to be there")
    assert [file.suffix for file in matview.folder.iterdir()] == [".part"]
    process.send_signal(signal.SIGINT)
    _, said = await asyncio.to_thread(process.communicate, timeout=30)
    assert (process.returncode, said) == (130, b"\ncancelled\n")
    await until(is_quiet, "the end of the query", patience=10)
    assert list(matview.folder.iterdir()) == []


async def test_a_preview_comes_before_the_view_and_prevents_a_wrong_one(tenant: Tenant, matview: Commands) -> None:
    shown = (await matview("view", "create", "v", "SELECT 41 + 1 AS n", "--preview")).stdout.decode().splitlines()
    assert shown[:4] == [" n", "--", "42", "(1 row)"]
    assert shown[-1].startswith("created v (")
    await matview("view", "create", "w", "SELECT 'x'::INTEGER AS n", "--preview", status=1)
    assert (await query(tenant, "SHOW TABLES"))["results"] == [["v"]]


async def test_a_script_runs_its_statements_until_one_fails(tenant: Tenant, matview: Commands) -> None:
    await tenant.create_view("v", "SELECT 1 AS a, 'x' AS b")
    script = "-- first;\nSELECT\n  'a;b' AS x;\n\\d v\nSELECT nothing; SELECT 'never' AS y;\n"
    done = await matview("shell", stdin=script, status=1)
    assert [line.split() for line in done.stdout.decode().splitlines()] == [
        *(["x"], ["---"], ["a;b"], ["(1", "row)"]),
        *(["column", "type"], ["------", "-------"], ["a", "INTEGER"], ["b", "VARCHAR"]),
    ]
    assert b'"nothing"' in done.stderr


async def test_the_shell_in_a_terminal(tenant: Tenant, matview: Commands) -> None:
    await tenant.create_view("sales.by_day", "SELECT 1 AS amount, 'x' AS b")
    with Terminal([*MATVIEW, "shell"], env=matview.env, folder=matview.folder) as terminal:

        async def shows(text: str) -> str:
            return await asyncio.to_thread(terminal.shows, text)

        await shows("matview>")
        terminal.types("SELECT 40 +\r")
        await shows("..>")
        terminal.types("2 AS n, NULL AS nothing;\r")
        assert "42  " in await shows("(1 row)")
        await shows("matview>")
        terminal.types("SELECT am\t")
        await shows("ount")  # what was typed may stand there already
        terminal.types(", b FROM sal\t")
        await shows("es.by_day")
        terminal.types(";\r")
        await shows("(1 row)")
        await shows("matview>")
        terminal.types("SELECT nothing;\r")
        await shows("error: ")
        await shows("matview>")
        terminal.types("SELECT to be abandoned\x03")
        await shows("matview>")
        terminal.types(f"{ENDLESS};\r")

        async def runs() -> bool:
            return await reads_of(tenant) == 1

        await until(runs, "the query to be there")
        terminal.types("\x03")
        await shows("cancelled")

        async def is_quiet() -> bool:
            return await reads_of(tenant) == 0

        await until(is_quiet, "the end of the query", patience=10)
        await shows("matview>")
        terminal.types("\x04")
        assert await asyncio.to_thread(terminal.ends) == 0
    file = matview.folder / "state" / "matview" / "history"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "+SELECT amount, b FROM sales.by_day;" in file.read_text()


async def test_the_path_of_a_view_leads_to_its_current_files(
    stack: DevStack, tenant: Tenant, matview: Commands
) -> None:
    view = await tenant.materialized("ns.v", "SELECT 42 AS n")
    await tenant.closed(await tenant.ended(view["id"]))
    matview.env["MATVIEW_DATA_DIR"] = stack.info["data_dir"]
    (folder,) = (await matview("view", "path", "NS.v")).stdout.decode().splitlines()
    assert folder == str(tenant.data_dir / "current" / str(tenant.project_id) / "ns.v")
    assert [pq.read_table(path).to_pydict() for path in Path(folder).glob("*.parquet")] == [{"n": [42]}]
    matview.env["MATVIEW_DATA_DIR"] = str(matview.folder)
    assert b"is not on this machine" in (await matview("view", "path", "ns.v", status=1)).stderr
    await tenant.create_view("plain", "SELECT 1 AS n")
    assert b"has no version yet" in (await matview("view", "path", "plain", status=1)).stderr
