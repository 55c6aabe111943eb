"""The time of every page of the console in a project with many views, and what open pages cost the API."""

import asyncio
import gzip
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
from sqlalchemy import insert, text

from benchmarks.common import Api, Measurement, percentile, say, show
from benchmarks.seed_catalog import fill
from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Database
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack
from orchestrator.services.access import AccessService

_WARM_UP = 5
_REAL = "SELECT i, md5(i::VARCHAR) AS m FROM range(1000) t(i)"
_LOADED = re.compile(r'(?:href|src)="(/static/[^"]+)"')
_READS = 2


async def measure(
    folder: Path, *, requests: int, views: int, runs: int, graph: int, readers: int, seconds: int
) -> list[Measurement]:
    """Measure every page, the size of the first one, and the processor time of open pages."""
    os.environ["MATVIEW_RECONCILE_SECONDS"] = "86400"  # the views that are written into the catalog have no schedules
    async with DevStack(folder / "home", bootstrap=bootstrap, say=say) as stack:
        project, api = int(stack.info["project_id"]), Api(stack)
        real = await api.materialized("real", _REAL)
        ids = await fill(stack.info["database_url"], project, views)
        await _add_runs(stack.info["database_url"], ids[0], runs)
        other = await _graph(stack, graph)
        async with _signed_in(api, stack) as http:
            pages = _pages(project, other, ids, real)
            pages["one refresh"] = f"/projects/{project}/refreshes/{await _generation(api)}"
            measured = [await _timed(http, stack, name, path, requests) for name, path in pages.items()]
            times, work = [one for one, _ in measured], [one for _, one in measured]
            show(f"Pages with {views:,} views", times, percentiles=True)
            show("Processor time of the API's process, a page", work)
            late = [Measurement(f"{one.name}, 95 of 100 within", [percentile(one.values, 0.95)], "ms") for one in times]
            show("95 of 100 within", late)
            size = await _first_load(http, f"/projects/{project}/views")
            show("The first page with its files, compressed", [size])
            cost = await _open_pages(http, api, stack, real, readers=readers, seconds=seconds)
            show(f"{readers} open pages", cost)
    return [*times, *late, *work, size, *cost]


def _pages(project: int, other: int, ids: list[str], real: str) -> dict[str, str]:
    base, middle = f"/projects/{project}", ids[len(ids) // 2]
    many = f"{base}/views/{ids[0]}"
    return {
        "nothing (the floor)": "/livez",
        "views": f"{base}/views",
        "views, a page in the middle": f"{base}/views?after={middle}",
        "views, a part of a name": f"{base}/views?search=led_7",
        "views, one condition": f"{base}/views?condition=Stale",
        "a view": many,
        "a view, 1,000 rows": f"{base}/views/{real}/rows",
        "a view, its last runs": f"{many}/runs",
        "a view, its last 100 runs": f"{many}/runs?limit=100",
        "a view, versions": f"{many}/versions",
        "a view, checks": f"{many}/checks",
        "a view, activity": f"{many}/activity",
        "a view, to edit": f"{many}/edit",
        "graph": f"/projects/{other}/graph",
        "graph, its nodes": f"/projects/{other}/graph.json",
        "refreshes": f"{base}/refreshes",
        "query": f"{base}/query",
        "names to complete": f"{base}/names.json",
        "sources": f"{base}/sources",
    }


@asynccontextmanager
async def _signed_in(api: Api, stack: DevStack) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=stack.info["api_url"], timeout=60, limits=limits) as http:
        link = (await api.ask("POST", "/console_links/", {})).json()["url"]
        await http.get(link)
        yield http


async def _timed(
    http: httpx.AsyncClient, stack: DevStack, name: str, path: str, requests: int
) -> tuple[Measurement, Measurement]:
    """The milliseconds until each answer was there, and those that the API's process worked for one of them."""
    for _ in range(_WARM_UP):
        (await http.get(path)).raise_for_status()
    times, before = [], _processor_seconds(stack.info["pids"]["api"])
    for _ in range(requests):
        began = time.perf_counter()
        answer = await http.get(path)
        times.append(1000 * (time.perf_counter() - began))
        answer.raise_for_status()
    worked = 1000 * (_processor_seconds(stack.info["pids"]["api"]) - before) / requests
    return Measurement(name, times, "ms"), Measurement(f"{name}, work", [worked], "ms")


async def _first_load(http: httpx.AsyncClient, path: str) -> Measurement:
    """The bytes that a browser loads for a page that it has not seen: the page itself, its scripts and styles."""
    page = await http.get(path)
    size = len(gzip.compress(page.content, 4))
    for name in set(_LOADED.findall(page.text)):
        async with http.stream("GET", name) as answer:
            size += sum([len(chunk) async for chunk in answer.aiter_raw()])
    return Measurement("views, everything", [size / 1000], "kB")


async def _open_pages(
    http: httpx.AsyncClient, api: Api, stack: DevStack, real: str, *, readers: int, seconds: int
) -> list[Measurement]:
    """The share of a core that the API takes: with and without open pages, at rest and while a view runs."""
    project = stack.info["project_id"]
    nothing = await _share(stack, seconds)
    async with AsyncExitStack() as opened:
        counts = [0]
        tasks = []
        for _ in range(readers):
            stream = await opened.enter_async_context(http.stream("GET", f"/projects/{project}/live"))
            tasks.append(asyncio.create_task(_read(stream, counts)))
        await asyncio.sleep(3)
        at_rest = await _share(stack, seconds)
        counts[0] = 0
        running = asyncio.create_task(_run_again_and_again(api, real))
        busy = await _share(stack, seconds)
        running.cancel()
        received = counts[0] / readers / seconds
        for task in tasks:
            task.cancel()
        await asyncio.gather(running, *tasks, return_exceptions=True)
    alone = asyncio.create_task(_run_again_and_again(api, real))
    without = await _share(stack, seconds)
    alone.cancel()
    await asyncio.gather(alone, return_exceptions=True)
    return [
        Measurement("no page, nothing runs", [nothing], "% of a core"),
        Measurement("pages, nothing runs", [at_rest], "% of a core"),
        Measurement("no page, a view runs again and again", [without], "% of a core"),
        Measurement("pages, a view runs again and again", [busy], "% of a core"),
        Measurement("events a page and second with these runs", [received], "1/s"),
    ]


async def _read(stream: httpx.Response, counts: list[int]) -> None:
    async for line in stream.aiter_lines():
        counts[0] += line.startswith("event:")


async def _run_again_and_again(api: Api, view: str) -> None:
    while True:
        await api.ask("POST", f"/warehouse_saved_queries/{view}/run/", {"full_refresh": True})
        await asyncio.sleep(1)


async def _share(stack: DevStack, seconds: int) -> float:
    """The share of a core that the API's process and its children take in so many seconds, in percent."""
    before, began = _processor_seconds(stack.info["pids"]["api"]), time.perf_counter()
    await asyncio.sleep(seconds)
    return 100 * (_processor_seconds(stack.info["pids"]["api"]) - before) / (time.perf_counter() - began)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _generation(api: Api) -> str:
    found = (await api.ask("GET", "/generations/")).json()["results"]
    return str(found[0]["id"])


async def _add_runs(database_url: str, view: str, count: int) -> None:
    """Add ended runs of a view, one a minute."""
    database = Database(database_url, pool_size=1)
    values = text(
        "INSERT INTO runs (id, saved_query_id, workflow_id, workflow_run_id, status, trigger, started_at, finished_at,"
        " revision_id, attempt, rows, bytes)"
        " SELECT gen_random_uuid(), v.id, 'materialize/' || v.id, gen_random_uuid(),"
        " CASE WHEN n % 10 = 0 THEN 'Failed' ELSE 'Completed' END, 'schedule', now() - n * interval '1 minute',"
        " now() - n * interval '1 minute' + interval '3 seconds', v.revision_id, 1, 1000, 40000"
        " FROM saved_queries v, generate_series(1, :count) n WHERE v.id = :view"
    )
    async with database.begin() as tx:
        await tx.execute(values, {"count": count, "view": view})
    await database.close()


async def _graph(stack: DevStack, count: int) -> int:
    """Another project with views in ten layers, of which each reads two of the layer before. Returns its id."""
    database = Database(stack.info["database_url"], pool_size=1)
    project = (await AccessService(database).create_project("graph")).id
    ids = await fill(stack.info["database_url"], project, count, prefix="node")
    width = max(1, count // 10)
    rows = [
        {"saved_query_id": ids[n], "position": position, "input_view_id": ids[n - width - (n + position) % width]}
        for n in range(2 * width, count)
        for position in range(_READS)
    ]
    unique = {(row["saved_query_id"], row["input_view_id"]): row for row in rows}
    async with database.begin() as tx:
        await tx.execute(insert(t.inputs), list(unique.values()))
    await database.close()
    return project
