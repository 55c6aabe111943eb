"""The rows of a view over HTTP: every format, parts of them, older versions, and what a cache needs."""

import asyncio
import csv
import io
import json
from pathlib import Path
from uuid import uuid4

import psycopg
import pyarrow.parquet as pq
import pytest

from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from tests.reading.support import ARROW, arrow_table, ask_http_1_0, data_url, parquet_table, rows_of
from tests.support.tenants import Json, Tenant, a_tenant, until

NUMBERS = "SELECT i AS id, 'row ' || i AS name, i * 1.5 AS amount FROM range(2500) t(i) ORDER BY i"


@pytest.fixture
async def view(tenant: Tenant) -> Json:
    return await tenant.materialized("ns.numbers", NUMBERS)


async def test_every_format_holds_the_same_rows(tenant: Tenant, view: Json) -> None:
    wanted = [{"id": i, "name": f"row {i}", "amount": i * 1.5} for i in range(2500)]

    arrow = arrow_table(await rows_of(tenant, view, format="arrow"))
    compressed = arrow_table(await rows_of(tenant, view, format="arrow", compression="lz4"))
    parquet = parquet_table(await rows_of(tenant, view, format="parquet"))
    lines = (await rows_of(tenant, view, format="ndjson")).text.splitlines()
    table = list(csv.DictReader(io.StringIO((await rows_of(tenant, view, format="csv")).text)))
    document = (await rows_of(tenant, view, format="json", limit=5000)).json()

    assert [{**row, "amount": float(row["amount"])} for row in arrow.to_pylist()] == wanted
    assert compressed.equals(arrow)
    assert [{**row, "amount": float(row["amount"])} for row in parquet.to_pylist()] == wanted
    assert [json.loads(line) for line in lines] == wanted
    assert [{"id": int(row["id"]), "name": row["name"], "amount": float(row["amount"])} for row in table] == wanted
    assert [dict(zip(("id", "name", "amount"), row, strict=True)) for row in document["results"]] == wanted
    assert document["columns"] == [
        {"name": "id", "type": "BIGINT"},
        {"name": "name", "type": "VARCHAR"},
        {"name": "amount", "type": "DECIMAL(21,1)"},
    ]


async def test_the_accept_header_chooses_the_format_and_json_is_the_default(tenant: Tenant, view: Json) -> None:
    for accept, wanted in [
        (ARROW, ARROW),
        ("text/csv;q=0.5, application/x-ndjson", "application/x-ndjson"),
        ("*/*", "application/json"),
        ("image/png, */*;q=0.1", "application/json"),
    ]:
        answer = await tenant.http.get(data_url(view), headers={"Accept": accept})
        assert answer.headers["content-type"].split(";")[0] == wanted
    error = await tenant.http.get(data_url(view), headers={"Accept": "image/png"})
    assert (error.status_code, error.json()["attr"]) == (400, "format")


async def test_pages_of_json_follow_one_another_and_stay_with_their_version(tenant: Tenant, view: Json) -> None:
    first = (await rows_of(tenant, view)).json()
    assert len(first["results"]) == 1000
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 2)

    seen, page = first["results"], first
    while page["next"]:
        page = (await tenant.http.get(page["next"])).json()
        assert page["snapshot_id"] == first["snapshot_id"]
        seen += page["results"]

    assert [row[0] for row in seen] == list(range(2500))
    assert (await rows_of(tenant, view)).json()["snapshot_id"] != first["snapshot_id"]


async def test_columns_limit_and_offset_choose_a_part(tenant: Tenant, view: Json) -> None:
    part = arrow_table(await rows_of(tenant, view, format="arrow", columns="amount,ID", limit=2, offset=10))
    assert part.column_names == ["amount", "id"]
    assert part.column("id").to_pylist() == [10, 11]
    parquet = parquet_table(await rows_of(tenant, view, format="parquet", columns="id", limit=3))
    assert parquet.to_pydict() == {"id": [0, 1, 2]}
    error = await tenant.error("GET", data_url(view) + "?columns=id,nope", status=400)
    assert (error["attr"], error["detail"]) == ("columns", 'The view has no column "nope".')
    assert (await tenant.http.get(data_url(view), params={"limit": "-1"})).status_code == 400
    for wrong in ("a\nb", "a\rb", '"a', '"a"b'):
        answer = await tenant.http.get(data_url(view), params={"columns": wrong})
        assert (answer.status_code, answer.json()["attr"]) == (400, "columns")
        assert answer.json()["detail"].startswith("The names of columns are separated by commas. One with")
    other = await tenant.materialized("umlauts", 'SELECT 1 AS "Ä", \'x\' AS "ä"')
    for name, kind, value in (("Ä", "INTEGER", 1), ("ä", "VARCHAR", "x")):
        answer = await rows_of(tenant, other, columns=name)
        assert answer.json()["columns"] == [{"name": name, "type": kind}]
        assert answer.json()["results"] == [[value]]


async def test_a_part_in_the_middle_of_a_file_is_the_same_in_each_answer(tenant: Tenant) -> None:
    view = await tenant.materialized("large", "SELECT i, hash(i) AS h FROM range(300000) t(i)")
    wanted = arrow_table(await rows_of(tenant, view, format="arrow"))
    for offset in (0, 122_880, 250_000):
        part = arrow_table(await rows_of(tenant, view, format="arrow", limit=1000, offset=offset))
        assert part.to_pydict() == wanted.slice(offset, 1000).to_pydict()


async def test_an_answer_says_its_version_and_a_client_that_has_it_gets_nothing(tenant: Tenant, view: Json) -> None:
    answer = await rows_of(tenant, view, format="csv")
    assert answer.headers["x-snapshot-id"] == view["current_snapshot_id"]
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["x-data-as-of"].endswith("Z")
    for known in (answer.headers["etag"], f'"other", {answer.headers["etag"]}', f"W/{answer.headers['etag']}", "*"):
        again = await tenant.http.get(data_url(view), params={"format": "csv"}, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
    two = [("If-None-Match", '"other"'), ("If-None-Match", answer.headers["etag"])]
    assert (await tenant.http.get(data_url(view), params={"format": "csv"}, headers=two)).status_code == 304
    other = await tenant.http.get(
        data_url(view), params={"format": "json"}, headers={"If-None-Match": answer.headers["etag"]}
    )
    assert other.status_code == 200

    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 2)
    newer = await tenant.http.get(
        data_url(view), params={"format": "csv"}, headers={"If-None-Match": answer.headers["etag"]}
    )
    assert newer.status_code == 200
    assert newer.headers["etag"] != answer.headers["etag"]


async def test_head_has_the_headers_and_no_body(tenant: Tenant, view: Json) -> None:
    for result_format in ("csv", "parquet"):
        head = await tenant.http.head(data_url(view), params={"format": result_format})
        body = await rows_of(tenant, view, format=result_format)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("etag", "x-snapshot-id", "content-type"):
            assert head.headers[name] == body.headers[name]
    assert int(head.headers["content-length"]) == len(body.content)
    head = await tenant.http.head(data_url(view), params={"format": "csv"})
    assert "content-length" not in head.headers
    known = {"If-None-Match": head.headers["etag"]}
    assert (await tenant.http.head(data_url(view), params={"format": "csv"}, headers=known)).status_code == 304


async def test_a_client_of_http_1_0_gets_only_what_shows_its_length(tenant: Tenant, view: Json) -> None:
    for method in ("GET", "HEAD"):
        for result_format in ("json", "csv", "ndjson", "arrow"):
            answer = await ask_http_1_0(tenant, method, f"{data_url(view)}?format={result_format}")
            assert answer.status == 400
        whole = await ask_http_1_0(tenant, method, data_url(view) + "?format=parquet")
        assert whole.status == 200
        assert b"content-length: " in whole.head
    (stored,) = tenant.files(view)
    assert (await ask_http_1_0(tenant, "GET", data_url(view) + "?format=parquet")).raw.endswith(stored.read_bytes())
    part = await ask_http_1_0(tenant, "GET", data_url(view) + "?format=parquet&limit=1")
    assert "needs HTTP/1.1" in part.body["detail"]
    assert "proxy_http_version 1.1" in part.body["detail"]


async def test_parquet_is_the_stored_file_and_ranges_of_it_can_be_read(tenant: Tenant, view: Json) -> None:
    (stored,) = tenant.files(view)
    whole = await rows_of(tenant, view, format="parquet")
    assert whole.content == stored.read_bytes()
    size = len(whole.content)
    for asked, start, end in [
        ("bytes=0-3", 0, 4),
        ("bytes=-8", size - 8, size),
        (f"bytes={size - 5}-", size - 5, size),
    ]:
        part = await tenant.http.get(data_url(view), params={"format": "parquet"}, headers={"Range": asked})
        assert part.status_code == 206
        assert part.content == whole.content[start:end]
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    beyond = await tenant.http.get(data_url(view), params={"format": "parquet"}, headers={"Range": f"bytes={size}-"})
    assert beyond.status_code == 416
    changed = await tenant.http.get(
        data_url(view), params={"format": "parquet"}, headers={"Range": "bytes=0-3", "If-Range": '"other"'}
    )
    assert changed.content == whole.content


async def test_an_older_version_is_read_by_its_id(tenant: Tenant, sources: Path) -> None:
    file = sources / "older" / f"{uuid4()}.csv"
    file.parent.mkdir(exist_ok=True)
    file.write_text("n\n1\n")
    await tenant.add_table("t", file, "CSVWithNames")
    view = await tenant.materialized("v", "SELECT n FROM t")
    file.write_text("n\n2\n")
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 2)
    assert (await rows_of(tenant, view)).json()["results"] == [[2]]
    older = (await rows_of(tenant, view, snapshot_id=view["current_snapshot_id"])).json()
    assert older["results"] == [[1]]
    error = await tenant.error("GET", data_url(view) + f"?snapshot_id={uuid4()}", status=404)
    assert "no longer kept" in error["detail"]


async def test_a_view_without_rows_says_why(tenant: Tenant) -> None:
    plain = await tenant.create_view("plain", "SELECT 1 AS one")
    error = await tenant.error("GET", data_url(plain), status=404)
    assert error["detail"].startswith("This view is not materialized")
    failed = await tenant.materialized("failed", "SELECT error('no') AS one")
    error = await tenant.error("GET", data_url(failed), status=404)
    assert error["detail"].startswith("This view has no rows yet")
    await tenant.error("GET", data_url({"id": str(uuid4())}), status=404)


async def test_an_empty_result_has_its_columns_in_every_format(tenant: Tenant) -> None:
    view = await tenant.materialized("empty", "SELECT 1 AS a, 'x' AS b WHERE false")
    assert arrow_table(await rows_of(tenant, view, format="arrow")).to_pydict() == {"a": [], "b": []}
    assert parquet_table(await rows_of(tenant, view, format="parquet", limit=1)).to_pydict() == {"a": [], "b": []}
    assert (await rows_of(tenant, view, format="csv")).text == "a,b\n"
    assert (await rows_of(tenant, view, format="ndjson")).text == ""
    document = (await rows_of(tenant, view)).json()
    assert (document["results"], document["next"]) == ([], None)


async def test_a_key_without_the_scope_or_of_another_project_reads_nothing(
    stack: DevStack, tenant: Tenant, view: Json
) -> None:
    async with a_tenant(stack, Scope.ACTIVITY_READ) as other:
        error = await other.error("GET", data_url(view), status=403)
        assert "warehouse_view:read" in error["detail"]
        foreign = await other.http.get(f"/../{tenant.project_id}{data_url(view)}")
        assert foreign.status_code == 403
    async with a_tenant(stack) as stranger:
        await stranger.error("GET", data_url(view), status=404)


async def test_a_reader_of_parquet_can_take_the_end_of_the_file_first(tenant: Tenant, view: Json) -> None:
    (stored,) = tenant.files(view)
    tail = await tenant.http.get(data_url(view), params={"format": "parquet"}, headers={"Range": "bytes=-8"})
    assert int.from_bytes(tail.content[:4], "little") == pq.read_metadata(stored).serialized_size
    assert tail.content[4:] == b"PAR1"


async def leases(tenant: Tenant) -> int:
    connection = await psycopg.AsyncConnection.connect(tenant.database_url)
    async with connection, connection.cursor() as cursor:
        await cursor.execute("SELECT count(*) FROM reads WHERE project_id = %s", [tenant.project_id])
        (count,) = await cursor.fetchone() or (0,)
        return int(count)


async def test_a_version_is_leased_while_it_is_read_and_no_longer(tenant: Tenant) -> None:
    view = await tenant.materialized("wide", "SELECT i, repeat('x', 1000) AS text FROM range(200000) t(i)")
    async with tenant.http.stream("GET", data_url(view), params={"format": "csv"}) as answer:
        chunks = answer.aiter_bytes()
        await anext(chunks)
        assert await leases(tenant) == 1
        await asyncio.sleep(1)
        assert await leases(tenant) == 1  # the client does not read on, and keeps its version

    async def is_over() -> bool:
        return await leases(tenant) == 0

    await until(is_over, "the end of the lease", patience=10)


async def test_many_types_come_out_as_they_went_in(tenant: Tenant) -> None:
    sql = """SELECT 170141183460469231731687303715884105727::HUGEINT AS huge, 'nan'::DOUBLE AS nan,
        '\\xFF'::BLOB AS blob,
        TIMESTAMP '2024-02-29 12:00:00.000001' AS at, TIMESTAMPTZ '2024-02-29 12:00:00+00' AS zoned,
        [1.5::DOUBLE, 'inf'::DOUBLE] AS list, {'a': INTERVAL 1 MONTH} AS part, '{"n": 1.10}'::JSON AS json"""
    view = await tenant.materialized("types", sql)
    (row,) = (await rows_of(tenant, view)).json()["results"]
    assert row == [
        170141183460469231731687303715884105727,
        None,
        "/w==",
        "2024-02-29T12:00:00.000001",
        "2024-02-29T12:00:00Z",
        [1.5, None],
        {"a": "1 month"},
        '{"n": 1.10}',
    ]
    assert (await rows_of(tenant, view, numbers="string")).json()["results"][0][0] == str(2**127 - 1)
