"""Helpers that tests on real servers share."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from temporalio.client import Client, WorkflowFailureError

from orchestrator.catalog.database import Database
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from orchestrator.services.access import AccessService

T = TypeVar("T")
Json = dict[str, Any]

# Generous: a wait ends when what it waits for happens, and only a test that has failed takes as long as this.
PATIENCE = 100.0

_FIRST_PAUSE, _LONGEST_PAUSE = 0.03, 0.3

# Trusts no server. To read the certificates of all authorities instead, for each client, takes 20 ms.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

# Runs until it is stopped, on any machine.
_ENDLESS_RANGE = "range(10000000000)"
ENDLESS = f"SELECT count(*) AS n FROM {_ENDLESS_RANGE} a, {_ENDLESS_RANGE} b"


def dev_stack(home: Path, *source_roots: Path, say: Callable[[str], None] = print, spark: bool = False) -> DevStack:
    return DevStack(home, bootstrap=bootstrap, say=say, extra_source_roots=source_roots, spark=spark)


async def until(ask: Callable[[], Awaitable[T | None]], what: str, patience: float = PATIENCE) -> T:
    """Ask again and again until there is an answer that is true: less and less often, since each costs the servers."""
    pause = _FIRST_PAUSE
    try:
        async with asyncio.timeout(patience):
            while True:
                answer = await ask()
                if answer:
                    return answer
                await asyncio.sleep(pause)
                pause = min(1.25 * pause, _LONGEST_PAUSE)
    except TimeoutError:
        raise AssertionError(f"waited {patience} s for {what}") from None


@dataclass(frozen=True)
class Tenant:
    """A project of one test's own, and a key to it."""

    project_id: int
    token: str
    http: httpx.AsyncClient
    database_url: str
    data_dir: Path
    temporal_address: str

    async def call(self, method: str, path: str, json: object = None, *, expect: int = 200) -> Json:
        answer = await self.http.request(method, path, json=json)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        body: Json = answer.json() if answer.content else {}
        return body

    async def error(self, method: str, path: str, json: object = None, *, status: int) -> Json:
        """The body of an answer that is not a success: the same four fields, and a place if it is of a statement."""
        body = await self.call(method, path, json, expect=status)
        assert set(body) - {"position"} == {"type", "code", "detail", "attr"}
        return body

    async def add_table(self, name: str, pattern: Path | str, file_format: str = "Parquet") -> Json:
        body = {"name": name, "format": file_format, "url_pattern": str(pattern)}
        return await self.call("POST", "/warehouse_tables/", body, expect=201)

    async def create_view(self, name: str, sql: str, expect: int = 201, **more: object) -> Json:
        body = {"name": name, "query": {"kind": "HogQLQuery", "query": sql}, **more}
        return await self.call("POST", "/warehouse_saved_queries/", body, expect=expect)

    async def view(self, view_id: str) -> Json:
        return await self.call("GET", f"/warehouse_saved_queries/{view_id}/")

    async def act(self, view_id: str, action: str, json: object = None) -> Json:
        """An action of a view. A run that is asked for without a body runs its query also if nothing has changed."""
        if action == "run" and json is None:
            json = {"full_refresh": True}
        return await self.call("POST", f"/warehouse_saved_queries/{view_id}/{action}/", json)

    async def history(self, view_id: str, limit: int = 100) -> list[Json]:
        body = await self.call("GET", f"/warehouse_saved_queries/{view_id}/run_history/?limit={limit}")
        runs: list[Json] = body["run_history"]
        return runs

    async def materialized(self, name: str, sql: str, sync_frequency: str | None = None) -> Json:
        """A new view whose first run has ended, however it did."""
        view = await self.create_view(name, sql)
        await self.act(view["id"], "materialize", {"sync_frequency": sync_frequency} if sync_frequency else None)
        await self.ended(view["id"])
        return await self.view(view["id"])

    async def ended(self, view_id: str, runs: int = 1, patience: float = PATIENCE) -> Json:
        """The newest run, once that many runs have ended and none is in progress."""

        async def ask() -> Json | None:
            history = await self.history(view_id)
            over = len(history) >= runs and all(run["status"] != "Running" for run in history)
            return history[0] if over else None

        return await until(ask, f"{runs} ended run(s)", patience)

    async def closed(self, run: Json) -> Json:
        """The run, once its workflow is over: the API shows the run as ended a moment before the workflow is done."""
        temporal = await Client.connect(self.temporal_address)
        with suppress(WorkflowFailureError):
            await temporal.get_workflow_handle(run["workflow_id"], run_id=run["workflow_run_id"]).result()
        return run

    async def running(self, view_id: str) -> Json:
        """The run in progress, once its query has reported progress."""

        async def ask() -> Json | None:
            history = await self.history(view_id)
            return history[0] if history and history[0]["progress"] else None

        return await until(ask, "a query that runs")

    def files(self, view: Json) -> list[Path]:
        """The files of all snapshots of a view, in the store."""
        return sorted((self.data_dir / "snapshots" / str(self.project_id) / view["id"]).glob("*/*.parquet"))

    def staged(self) -> list[Path]:
        """The files of the project in the store that are not sealed."""
        return [path for path in (self.data_dir / "staging" / str(self.project_id)).rglob("*") if path.is_file()]

    async def recorded(self, view: Json) -> list[str]:
        """The statuses of a view's runs in the catalog, oldest first; also of a deleted view.

        The API does not show those, and checks whether a run is over before it shows it.
        """
        database = Database(self.database_url, pool_size=1)
        try:
            async with database.begin() as tx:
                query = f"SELECT status FROM runs WHERE saved_query_id = '{view['id']}' ORDER BY started_at"
                return [row.status for row in await tx.exec_driver_sql(query)]
        finally:
            await database.close()

    async def rows(self, view: Json) -> list[Json]:
        """The rows of a view's current snapshot, found as a reader would: by the catalog's list of files."""
        database = Database(self.database_url, pool_size=1)
        try:
            async with database.begin() as tx:
                found = await tx.exec_driver_sql(
                    "SELECT s.location, s.files FROM snapshots s JOIN saved_queries v ON v.current_snapshot_id = s.id "
                    f"WHERE v.id = '{view['id']}'"
                )
                (row,) = found.all()
        finally:
            await database.close()
        folder = self.data_dir / "snapshots" / row.location
        return [one for file in row.files for one in pq.read_table(folder / file["name"]).to_pylist()]


@asynccontextmanager
async def a_tenant(stack: DevStack, *scopes: Scope, database: Database | None = None) -> AsyncIterator[Tenant]:
    """A new project in a running stack. `database` is an open connection to its catalog, which saves opening one."""
    info = stack.info
    opened = database or Database(info["database_url"], pool_size=1)
    try:
        access = AccessService(opened)
        project = await access.create_project("a test")
        key = await access.create_key(
            email="tester@example.com", label="", scopes=scopes or list(Scope), project_ids=[project.id]
        )
    finally:
        if database is None:
            await opened.close()
    headers = {"Authorization": f"Bearer {key.token}"}
    base_url = f"{info['api_url']}/api/projects/{project.id}"
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=PATIENCE, verify=NO_TLS) as http:
        yield Tenant(
            project.id, key.token, http, info["database_url"], Path(info["data_dir"]), info["temporal_address"]
        )


async def cancel_all(tenant: Tenant, catalog: Database) -> None:
    """Cancel what runs in a project, and delete schedules of endless queries: either would have the next tests wait."""
    own = "member_of IS NULL AND removed_at IS NULL"
    mine = f"project_id = {tenant.project_id} AND status = 'Running'"
    endless = f"""SELECT v.id FROM saved_queries v JOIN revisions r ON r.id = v.revision_id
        WHERE project_id = {tenant.project_id} AND deleted_at IS NULL AND sync_frequency IS NOT NULL
        AND position('{_ENDLESS_RANGE}' IN r.query::text) > 0"""
    async with catalog.begin() as tx:
        scheduled = [row.id for row in await tx.exec_driver_sql(endless)]
        generations = [row.id for row in await tx.exec_driver_sql(f"SELECT id FROM generations WHERE {mine}")]
        tries = (await tx.exec_driver_sql(f"SELECT id, saved_query_id FROM tries WHERE {mine} AND {own}")).all()
    with suppress(httpx.HTTPError):
        for view in scheduled:
            await tenant.http.post(f"/warehouse_saved_queries/{view}/revert_materialization/")
        for generation in generations:
            await tenant.http.post(f"/generations/{generation}/cancel/")
        for one in tries:
            await tenant.http.delete(f"/warehouse_saved_queries/{one.saved_query_id}/tries/{one.id}/")


def as_listed(table: Json) -> Json:
    """A source table as a list shows it: without descriptions."""
    columns = [{key: value for key, value in one.items() if key != "description"} for one in table["columns"]]
    return {key: value for key, value in table.items() if key != "description"} | {"columns": columns}


def write_parquet(path: Path, **columns: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def quarantined(count: int) -> list[Json]:
    """Rows as a run quarantines them: line n holds the text `text n`."""
    return [
        {
            "file": "/data/a.csv",
            "line": n,
            "column": "n",
            "text": f"text {n}",
            "reason": "no BIGINT",
            "row": f"{n},text {n}",
        }
        for n in range(count)
    ]


def write_quarantine(path: Path, rows: list[Json], row_group_size: int = 10_000) -> Path:
    """Write a file of quarantined rows, as the engine does."""
    names = ("file", "line", "column", "text", "reason", "row")
    schema = pa.schema([(name, pa.int64() if name == "line" else pa.string()) for name in names])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path, row_group_size=row_group_size)
    return path
