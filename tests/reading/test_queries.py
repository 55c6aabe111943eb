"""Queries over HTTP in PostHog's shape: what they read, what they refuse, and how they end."""

import asyncio
import http.client
import io
import json
import time
import urllib.request
from pathlib import Path
from uuid import uuid4

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from tests.reading.support import ARROW, ask_http_1_0, query
from tests.support.tenants import ENDLESS, PATIENCE, Json, Tenant, a_tenant, until, write_parquet


async def refused(tenant: Tenant, sql: str, **values: object) -> Json:
    body = await query(tenant, sql, status=400, **values)
    assert set(body) - {"position"} == {"type", "code", "detail", "attr"}
    return body


async def test_an_answer_has_posthogs_shape(tenant: Tenant) -> None:
    body = {"query": {"kind": "HogQLQuery", "query": "SELECT 1 AS n, 'x' AS s"}, "name": "mine", "refresh": "blocking"}
    assert await tenant.call("POST", "/query/", body) == {
        "results": [[1, "x"]],
        "columns": ["n", "s"],
        "types": [["n", "INTEGER"], ["s", "VARCHAR"]],
        "hasMore": False,
        "limit": 100,
        "offset": 0,
        "query": "SELECT 1 AS n, 'x' AS s",
        "is_cached": False,
        "error": None,
        "query_status": None,
    }


async def test_a_query_reads_snapshots_plain_views_and_tables(tenant: Tenant, sources: Path) -> None:
    write_parquet(sources / "queried" / "t.parquet", a=[1, 2, 3])
    await tenant.add_table("t", sources / "queried" / "t.parquet")
    await tenant.materialized("ns.kept", "SELECT a * 10 AS a FROM t")
    await tenant.create_view("plain", "SELECT sum(a) AS s FROM ns.kept")
    write_parquet(sources / "queried" / "t.parquet", a=[7])

    parts = (
        "SELECT s FROM plain",
        "SELECT max(a) FROM t",
        'SELECT count(*) FROM "ns.kept"',
        "SELECT 1 FROM main.plain",
    )
    sql = f"SELECT {', '.join(f'({part})' for part in parts)}"
    for _ in range(2):  # by a new process, and by the one that is kept
        assert (await query(tenant, sql))["results"] == [[60, 7, 3, 1]]
    assert (await query(tenant, "SELECT a FROM ns.kept ORDER BY a DESC"))["results"] == [[30], [20], [10]]


async def test_a_view_that_is_refreshed_or_changed_is_read_anew_by_a_process_that_is_kept(
    tenant: Tenant, sources: Path
) -> None:
    file = write_parquet(sources / "anew" / "t.parquet", a=[1])
    await tenant.add_table("t", file)
    view = await tenant.materialized("v", "SELECT a FROM t")
    top = await tenant.create_view("top", "SELECT * FROM v")
    assert (await query(tenant, "SELECT * FROM top"))["results"] == [[1]]
    write_parquet(file, a=[2])
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 2)
    assert (await query(tenant, "SELECT * FROM top"))["results"] == [[2]]

    change = {"query": {"query": "SELECT a, 'new' AS b FROM t"}, "edited_history_id": view["latest_history_id"]}
    await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/", change)
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 3)
    assert (await query(tenant, "SELECT * FROM top"))["results"] == [[2, "new"]]
    await tenant.call("DELETE", f"/warehouse_saved_queries/{top['id']}/", expect=204)
    assert "Table with name top does not exist" in (await refused(tenant, "SELECT * FROM top"))["detail"]


async def test_a_statement_without_a_limit_gives_a_hundred_rows_and_says_that_there_are_more(tenant: Tenant) -> None:
    body = await query(tenant, "SELECT i FROM range(500) t(i) -- all of them;")
    assert (len(body["results"]), body["hasMore"], body["limit"]) == (100, True, 100)
    body = await query(tenant, "SELECT i FROM range(100) t(i);")
    assert (len(body["results"]), body["hasMore"]) == (100, False)
    body = await query(tenant, "SELECT i FROM range(500) t(i) LIMIT 300 OFFSET 10")
    assert (len(body["results"]), body["hasMore"], body["results"][0]) == (300, False, [10])
    body = await query(tenant, "SELECT i FROM range(60000) t(i) LIMIT 60000")
    assert (len(body["results"]), body["hasMore"], body["limit"]) == (50_000, True, 50_000)
    body = await query(tenant, "(SELECT 1 AS i) UNION ALL (SELECT i FROM range(500) t(i) LIMIT 400)")
    assert (len(body["results"]), body["hasMore"]) == (100, True)


async def test_other_formats_stream_every_row(tenant: Tenant) -> None:
    sql = "SELECT i, 'r' || i AS s FROM range(200000) t(i)"

    async def answer(media_type: str) -> bytes:
        found = await tenant.http.post("/query/", json={"query": {"query": sql}}, headers={"Accept": media_type})
        assert found.headers["content-type"].split(";")[0] == media_type
        return found.content

    assert pa.ipc.open_stream(await answer(ARROW)).read_all().num_rows == 200_000
    assert pq.read_table(io.BytesIO(await answer("application/vnd.apache.parquet"))).num_rows == 200_000
    lines = (await answer("text/csv")).decode().splitlines()
    assert (len(lines), lines[0], lines[-1]) == (200_001, "i,s", "199999,r199999")
    assert len((await answer("application/x-ndjson")).splitlines()) == 200_000


async def test_values_are_bound_and_never_become_part_of_the_statement(tenant: Tenant) -> None:
    hostile = "x'; DROP TABLE t; --"
    body = await query(tenant, "SELECT {text} AS a, $number + 1 AS b, '{text}' AS c", text=hostile, number=41)
    assert body["results"] == [[hostile, 42, "{text}"]]
    body = await query(
        tenant, "SELECT i FROM range(10) t(i) WHERE i IN (SELECT unnest({ids})) AND {flag}", ids=[3, 5], flag=True
    )
    assert body["results"] == [[3], [5]]
    assert (await query(tenant, "SELECT {none} IS NULL, {'a': 1}.a", none=None))["results"] == [[True, 1]]
    assert "placeholder {other}" in (await refused(tenant, "SELECT {other}", text=1))["detail"]
    assert "parameter $other" in (await refused(tenant, "SELECT $other", text=1))["detail"]
    assert (await refused(tenant, "SELECT 1", **{"not a name": 1}))["attr"] == "values"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT 1; SELECT 2", "exactly one statement"),
        ("DROP TABLE t", "one SELECT statement"),
        ("CREATE TABLE t AS SELECT 1", "one SELECT statement"),
        ("COPY (SELECT 1) TO '/tmp/x'", "one SELECT statement"),
        ("SET memory_limit = '1TB'", "one SELECT statement"),
        ("EXPLAIN ANALYZE SELECT 1", "one SELECT statement"),
        ("EXPLAIN COPY (SELECT 1) TO '/tmp/x'", "one SELECT statement"),
        ("SELECT * FROM read_csv('/etc/passwd')", "not allowed"),
        ("SELECT * FROM '/etc/passwd'", "does not exist"),
        ("SELECT * FROM duckdb_settings()", "not allowed"),
        ("SELECT * FROM pg_catalog.pg_tables", "does not exist"),
        ("SELECT * FROM duckdb_tables", "does not exist"),
        ("SELECT current_setting('temp_directory')", "not allowed"),
        ("SELECT nothing", 'Referenced column "nothing"'),
        ("SELECT * FROM nothing", "Table with name nothing does not exist"),
        ("SELECT error('on purpose')", "on purpose"),
        ("", "SELECT"),
    ],
)
async def test_what_is_no_select_over_the_projects_own_names_is_refused(tenant: Tenant, sql: str, words: str) -> None:
    body = await refused(tenant, sql)
    assert body["type"] == "validation_error"
    assert words in body["detail"]


async def test_the_information_schema_shows_the_project_and_nothing_else(stack: DevStack, tenant: Tenant) -> None:
    await tenant.materialized("ns.kept", "SELECT 1::BIGINT AS a, 'x' AS b")
    await tenant.create_view("plain", "SELECT a FROM ns.kept")
    async with a_tenant(stack) as other:
        await other.create_view("foreign", "SELECT 1 AS secret")
        assert (await query(other, "SELECT table_name FROM information_schema.tables"))["results"] == [["foreign"]]
    tables = "SELECT table_schema, table_name, table_type FROM {}information_schema.tables ORDER BY table_name"
    wanted = [["main", "ns.kept", "BASE TABLE"], ["main", "plain", "VIEW"]]
    for prefix in ("", "system.", "SYSTEM."):
        assert (await query(tenant, tables.replace("{}", prefix)))["results"] == wanted
    columns = """SELECT c.column_name, c.ordinal_position, c.data_type FROM information_schema.columns AS c
        JOIN "information_schema"."tables" ON c.table_name = tables.table_name
        WHERE tables.table_name = 'ns.kept' ORDER BY 2"""
    assert (await query(tenant, columns))["results"] == [["a", 1, "BIGINT"], ["b", 2, "VARCHAR"]]
    assert (await query(tenant, "SHOW TABLES"))["results"] == [["ns.kept"], ["plain"]]
    assert (await query(tenant, "SELECT schema_name FROM information_schema.schemata"))["results"] == [["main"]]
    name = 'SELECT count(*) FROM "memory"."main"."ns.kept"'  # as a client composes it from those columns
    assert (await query(tenant, name))["results"] == [[1]]
    assert (await query(tenant, "SELECT count(*) FROM information_schema.views LIMIT 1", status=400))["code"]


async def test_a_table_is_described_summarized_and_a_statement_explained(tenant: Tenant) -> None:
    await tenant.materialized("v", "SELECT i AS a FROM range(10) t(i)")
    for sql in ("DESCRIBE v", "describe SELECT * FROM v", "SHOW v;", "DESC main.v"):
        assert (await query(tenant, sql))["results"][0][:2] == ["a", "BIGINT"]
    summary = await query(tenant, "SUMMARIZE v")
    assert summary["results"][0][summary["columns"].index("max")] == "9"
    plan = (await query(tenant, "EXPLAIN SELECT sum(a) FROM v"))["results"][0][1]
    assert "PARQUET" in plan
    assert str(tenant.data_dir) not in plan


async def test_a_running_query_is_cancelled_by_its_id_within_a_second(tenant: Tenant) -> None:
    body = {"query": {"query": ENDLESS}, "client_query_id": f"id-{uuid4()}"}
    running = asyncio.create_task(tenant.http.post("/query/", json=body))

    async def cancelled() -> bool:
        answer = await tenant.http.delete(f"/query/{body['client_query_id']}/")
        return answer.status_code == 204

    await until(cancelled, "the query to be there")
    began = time.monotonic()
    answer = await running
    assert time.monotonic() - began < 5
    assert (answer.status_code, answer.json()["code"]) == (400, "query_cancelled")
    await tenant.error("DELETE", f"/query/{body['client_query_id']}/", status=404)
    assert (await query(tenant, "SELECT 1"))["results"] == [[1]]


async def test_a_query_that_fails_in_the_middle_of_its_rows_breaks_the_answer_off(tenant: Tenant) -> None:
    sql = "SELECT CASE WHEN i < 900000 THEN i ELSE error('too far') END AS i FROM range(1000000) t(i)"
    with pytest.raises(httpx.RemoteProtocolError):
        await tenant.http.post("/query/", json={"query": {"query": sql}}, headers={"Accept": "text/csv"})
    # Arrow marks the end of a stream, and a reader that sees the mark asks for no more.
    url = f"{tenant.http.base_url}/query/"
    body = json.dumps({"query": {"query": sql}}).encode()
    headers = {"Authorization": f"Bearer {tenant.token}", "Accept": ARROW, "Content-Type": "application/json"}

    def read_arrow() -> None:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:  # noqa: S310 - the API of the test
            pa.ipc.open_stream(answer).read_all()

    with pytest.raises((pa.ArrowInvalid, OSError, http.client.IncompleteRead)):
        await asyncio.to_thread(read_arrow)
    early = sql.replace("900000", "9")
    assert "too far" in (await refused(tenant, early))["detail"]


async def test_the_scope_of_queries_is_needed(stack: DevStack) -> None:
    async with a_tenant(stack, Scope.VIEW_READ, Scope.VIEW_WRITE) as tenant:
        body = await query(tenant, "SELECT 1", status=403)
        assert "query:read" in body["detail"]


async def test_bad_values_of_a_source_are_named_with_their_line(tenant: Tenant, sources: Path) -> None:
    file = sources / "bad" / "t.csv"
    file.parent.mkdir(exist_ok=True)
    file.write_text("n\n1\n")
    await tenant.add_table("t", file, "CSVWithNames")
    file.write_text("n\n1\ntwo\n")
    body = await refused(tenant, "SELECT sum(n) FROM t")
    assert "two" in body["detail"]
    assert "line 3" in body["detail"]


async def test_the_tool_for_agents_answers_in_text(tenant: Tenant) -> None:
    async def tool(sql: str, **arguments: object) -> Json:
        return await tenant.call("POST", "/mcp_tools/execute_sql/", {"args": {"query": sql, **arguments}})

    body = await tool("SELECT 1 AS n, NULL AS nothing, true AS yes, 'a\nb' AS text")
    assert (body["success"], body["content"]) == (True, "n|nothing|yes|text\n1|null|true|a b")
    assert body["structured_content"]["types"][0] == ["n", "INTEGER"]
    long = "SELECT repeat('x', 1000) AS x"
    assert (await tool(long))["content"] == f"x\n{'x' * 200}… (1,000 characters)"
    assert (await tool(long, truncate=False))["content"] == f"x\n{'x' * 1000}"
    many = await tool("SELECT i FROM range(1000) t(i)")
    assert many["content"].splitlines()[-1].startswith("(There are more rows than these 100")
    digits = await tool("SELECT 12345678901234567890.123456789::DECIMAL(38,9) AS d, [1.25::DECIMAL(4,2), NULL] AS l")
    assert digits["content"].splitlines()[1] == "12345678901234567890.123456789|[1.25, null]"
    assert len((await tool("SELECT repeat('9', 5000)::BIGNUM AS n", truncate=False))["content"]) == 5002
    bad = await tool("SELECT nothing")
    assert (bad["success"], bad["structured_content"]) == (False, None)
    assert 'Referenced column "nothing"' in bad["content"]


async def test_a_call_of_the_tool_whose_client_has_left_gives_its_slot_back(tenant: Tenant) -> None:
    async def call(sql: str, patience: float) -> httpx.Response:
        body = {"args": {"query": sql}}
        return await tenant.http.post("/mcp_tools/execute_sql/", json=body, timeout=patience)

    left = await asyncio.gather(*(call(ENDLESS, 4) for _ in range(4)), return_exceptions=True)
    assert [type(one) for one in left] == [httpx.ReadTimeout] * 4
    answer = await call("SELECT 1 AS n", PATIENCE)
    assert (answer.status_code, answer.json()["content"]) == (200, "n\n1")


async def test_the_tool_shows_a_megabyte_of_nested_values_and_refuses_more(tenant: Tenant) -> None:
    async def tool(count: int) -> Json:
        sql = f"SELECT list([i, i]) AS l FROM range({count}) t(i)"
        return await tenant.call("POST", "/mcp_tools/execute_sql/", {"args": {"query": sql, "truncate": False}})

    shown = (await tool(60_000))["content"]
    assert json.loads(shown.removeprefix("l\n")) == [[i, i] for i in range(60_000)]
    beyond = await tool(90_000)
    assert not beyond["success"]
    assert beyond["content"] == "The result is too long to be shown as text: select fewer rows or columns."


async def test_large_numbers_are_text_if_the_client_asks_for_it(tenant: Tenant) -> None:
    sql = (
        "SELECT 9007199254740993 AS a, 1.5::DECIMAL(38,9) AS b, 7::INTEGER AS c, 'nan'::DOUBLE AS d, [2::HUGEINT] AS e"
    )

    async def first_row(parameters: str) -> str:
        answer = await tenant.http.post(f"/query/{parameters}", json={"query": {"query": sql}})
        assert answer.status_code == 200
        return answer.text.split("\n")[1].replace(" ", "")

    assert await first_row("?numbers=string") == '["9007199254740993","1.500000000",7,null,["2"]]'
    assert await first_row("?numbers=number") == await first_row("")
    assert (await first_row("")).startswith("[9007199254740993,1.5")
    answer = await tenant.http.post("/query/?numbers=roman", json={"query": {"query": sql}})
    assert (answer.status_code, answer.json()["attr"]) == (400, "numbers")


async def test_a_client_of_http_1_0_is_refused_before_its_query_is_run(tenant: Tenant) -> None:
    answer = await ask_http_1_0(tenant, "POST", "/query/", json.dumps({"query": {"query": ENDLESS}}).encode())
    assert answer.is_refusal(400)
    assert "needs HTTP/1.1" in answer.body["detail"]
    body = json.dumps({"args": {"query": "SELECT 1 AS n"}}).encode()
    whole = await ask_http_1_0(tenant, "POST", "/mcp_tools/execute_sql/", body)
    assert (whole.status, whole.body["content"]) == (200, "n\n1")
    assert b"content-length: " in whole.head


async def test_the_error_of_an_answer_that_breaks_off_is_in_the_log_in_one_line(
    stack: DevStack, tenant: Tenant
) -> None:
    log = stack.servers.home.logs / "api.log"
    begins = log.stat().st_size
    sql = "SELECT CASE WHEN i < 900000 THEN i ELSE error('too far') END AS i FROM range(1000000) t(i)"
    headers = {"Accept": "text/csv", "X-Request-Id": f"broken-{tenant.project_id}"}
    with pytest.raises(httpx.RemoteProtocolError):
        await tenant.http.post("/query/", json={"query": {"query": sql}}, headers=headers)

    async def lines() -> list[str]:
        added = log.read_bytes()[begins:].decode().splitlines()
        return added if any("too far" in line for line in added) else []

    found = await until(lines, "the line in the log", patience=10)
    (line,) = [line for line in found if f"request=broken-{tenant.project_id}" in line]
    assert "INFO    api.errors: POST" in line
    assert "broke off: query_failed: " in line
    assert "too far" in line
    assert not [line for line in found if "Traceback" in line or "ERROR" in line or "ASGI" in line]


async def test_an_input_that_is_missing_is_named_at_once(tenant: Tenant, sources: Path) -> None:
    file = write_parquet(sources / "gone" / "t.parquet", a=[1])
    await tenant.add_table("t", file)
    file.unlink()
    began = time.monotonic()
    body = await refused(tenant, "SELECT * FROM t")
    assert body["code"] == "input_missing"
    assert time.monotonic() - began < 20  # and not the minute that a query may take


async def test_a_query_with_values_is_streamed_and_run_once(tenant: Tenant) -> None:
    body = {"query": {"query": "SELECT i, repeat('x', 200) AS x FROM range($n) t(i)", "values": {"n": 5_000_000}}}
    async with tenant.http.stream("POST", "/query/", json=body, headers={"Accept": "text/csv"}) as answer:
        assert answer.status_code == 200  # held in memory, it would not fit
        size = sum([len(chunk) async for chunk in answer.aiter_bytes()])
    assert size > 1_000_000_000


async def test_a_kept_process_takes_names_that_differ_in_case_for_one(tenant: Tenant) -> None:
    view = await tenant.materialized("Foo", "SELECT 1 AS n")
    first = view["current_snapshot_id"]
    assert (await query(tenant, "SELECT n FROM Foo"))["results"] == [[1]]
    change = {"name": "foo", "query": {"query": "SELECT 2 AS n"}, "soft_update": True}
    await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/", change)
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 2)
    assert (await query(tenant, "SELECT n FROM foo"))["results"] == [[2]]
    await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/", {"name": "Foo"})
    await tenant.act(view["id"], "rollback", {"snapshot_id": first})
    assert (await query(tenant, "SELECT n FROM Foo"))["results"] == [[1]]


@pytest.mark.parametrize("name", ["\u00a0information_schema.tables", " information_schema/**/.tables"])
async def test_no_spelling_leads_to_duckdbs_own_information_schema(tenant: Tenant, name: str) -> None:
    await query(tenant, "SELECT 1 FROM information_schema.tables")
    answer = await tenant.http.post("/query/", json={"query": {"query": f"SELECT table_name FROM{name}"}})
    assert answer.status_code == 400 or answer.json()["results"] == []


async def test_a_number_beside_a_placeholder_stays_apart(tenant: Tenant) -> None:
    assert (await query(tenant, "SELECT {a}AS x, 2+{a}", a=1))["results"] == [[1, 3]]


async def test_an_offset_alone_is_no_limit(tenant: Tenant) -> None:
    assert len((await query(tenant, "SELECT i FROM range(500) t(i) OFFSET 5"))["results"]) == 100
