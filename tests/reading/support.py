"""Readers of results over HTTP."""

import io
from typing import Any

import httpx
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from tests.api.raw import Answer, ask_raw
from tests.support.tenants import Json, Tenant

ARROW = "application/vnd.apache.arrow.stream"


def data_url(view: Json) -> str:
    return f"/warehouse_saved_queries/{view['id']}/data/"


async def rows_of(tenant: Tenant, view: Json, **parameters: object) -> httpx.Response:
    """The answer with a view's rows, which must be a success."""
    answer = await tenant.http.get(data_url(view), params=parameters)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return answer


def arrow_table(answer: httpx.Response) -> pa.Table:
    assert answer.headers["content-type"] == ARROW
    return pa.ipc.open_stream(answer.content).read_all()


def parquet_table(answer: httpx.Response) -> pa.Table:
    return pq.read_table(io.BytesIO(answer.content))


async def query(tenant: Tenant, sql: str, *, status: int = 200, **values: Any) -> Json:
    """The answer to a query in PostHog's shape."""
    body = {"query": {"kind": "HogQLQuery", "query": sql, "values": values}}
    return await tenant.call("POST", "/query/", body, expect=status)


async def ask_http_1_0(tenant: Tenant, method: str, path: str, body: bytes = b"") -> Answer:
    """The answer to a request of HTTP/1.0, as some proxies send it."""
    base = tenant.http.base_url
    lines = [
        f"{method} {base.path.rstrip('/')}{path} HTTP/1.0",
        f"Authorization: Bearer {tenant.token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return await ask_raw(str(base), "\r\n".join([*lines, "", ""]).encode() + body)


async def reads_of(tenant: Tenant) -> int:
    """The number of reads that the catalog has for the project."""
    connection = await psycopg.AsyncConnection.connect(tenant.database_url)
    async with connection, connection.cursor() as cursor:
        await cursor.execute("SELECT count(*) FROM reads WHERE project_id = %s", [tenant.project_id])
        (count,) = await cursor.fetchone() or (0,)
        return int(count)
