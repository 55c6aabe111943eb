"""Latencies of one project while a key of another attacks from fifty connections, beside those on a calm stack."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx

from benchmarks.common import Api, Measurement, percentile, say, show, timed
from benchmarks.processes import below
from orchestrator.catalog.database import Database
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.home import DevInfo
from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from orchestrator.services.access import AccessService

_VIEWS, _TABLES = "/warehouse_saved_queries/", "/warehouse_tables/"
_PAGE = 100
_PAGE_BYTES = 4096
_SAMPLE_SECONDS = 0.25
# Each statement or body once stopped the API, filled its memory, or blocked a resource that all projects share.
_STATEMENTS = (
    "SELECT " + "{" * 6_400 + "x" + ":1}" * 6_400,
    "SELECT 1 AS a" + "/*" * 24_000,
    "SELECT * FROM range(length(sleep_ms(9500)::VARCHAR))",
    "SELECT * FROM range(length(repeat('x', 1000000000)))",
    f"SELECT {' + '.join(['1'] * 700)} AS a",
    "SELECT error(repeat(chr(10), 60000)) AS a",
    f"SELECT {', '.join(f'{n} AS c{n}' for n in range(20_000))}",
    "SELECT count(*) AS n FROM range(10000000000) a, range(10000000000) b",
)


class Call(NamedTuple):
    """One request of the hostile key."""

    method: str
    path: str
    content: bytes


async def measure(folder: Path, requests: int, connections: int) -> list[Measurement]:
    """Measure the 95th percentiles of a list, a save and a run of one project, calm and beside a hostile project."""
    (folder / "sources").mkdir()
    (folder / "sources" / ("a" * 200)).write_text("a\n1\n")
    async with DevStack(
        folder / "home", bootstrap=bootstrap, say=say, extra_source_roots=[folder / "sources"]
    ) as stack:
        api = Api(stack)
        # As many as a page holds, so that every list has the same length.
        await asyncio.gather(*(api.create(f"view_{number}", "SELECT 1 AS n") for number in range(_PAGE)))
        calm = await _asked(api, requests, "calm")
        hostile = await another_key(stack.info, "hostile")
        async with _watched(stack.info) as most, _attacked(hostile, connections, folder / "sources") as answers:
            await asyncio.sleep(5)
            attacked = await _asked(api, requests, "attacked")
    say(f"The hostile key was answered {sum(answers.values()):,} times: {dict(sorted(answers.items()))}")
    pairs = zip(calm, attacked, strict=True)
    slower = [
        Measurement(
            f"{a.name.partition(',')[0]}, 95th percentile",
            [percentile(b.values, 0.95) / percentile(a.values, 0.95)],
            "times",
        )
        for a, b in pairs
    ]
    memory = [Measurement(f"memory of {name} and below it, most", [mib], "MiB") for name, mib in most.items()]
    figures = [*calm, *attacked, *slower, *memory]
    show(f"One key does its worst from {connections} connections", figures, percentiles=True)
    return figures


async def _asked(api: Api, requests: int, when: str) -> list[Measurement]:
    """Measure so many calls of each kind, one after the other, as a client of another project makes them."""
    numbers = itertools.count()
    # A new view for each phase: the client counts a view's runs, and the API lists only the last hundred.
    view_id = await api.materialized(f"small_{when}", "SELECT 1 AS n")

    async def save() -> None:
        body = {"name": f"{when}_{next(numbers)}", "query": {"query": "SELECT 1 AS n, 'x' AS s"}}
        await api.call("POST", _VIEWS, body)

    figures = []
    for name, call in (
        ("list", lambda: api.call("GET", _VIEWS)),
        ("save", save),
        ("run", lambda: api.run_promptly(view_id)),
    ):
        figures.append(Measurement(f"{name}, {when}", [await timed(call) for _ in range(requests)]))
    return figures


async def another_key(info: DevInfo, name: str) -> DevInfo:
    """The stack's addresses, with a new project and a key that has all scopes in it."""
    database = Database(info["database_url"], pool_size=1)
    try:
        access = AccessService(database)
        project = await access.create_project(name)
        key = await access.create_key(
            email=f"{name}@example.com", label="", scopes=list(Scope), project_ids=[project.id]
        )
    finally:
        await database.close()
    return {**info, "project_id": str(project.id), "api_key": key.token}


@asynccontextmanager
async def _attacked(info: DevInfo, connections: int, sources: Path) -> AsyncIterator[dict[str, int]]:
    """Attack with `connections` clients that send without a pause, and twenty that begin a request and never end it."""
    answers: dict[str, int] = {}
    calls = itertools.cycle(_calls(sources))
    base = f"{info['api_url']}/api/projects/{info['project_id']}"
    headers = {"Authorization": f"Bearer {info['api_key']}", "Content-Type": "application/json"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=base, headers=headers, limits=limits, timeout=60, trust_env=False) as http:

        async def ask() -> None:
            while True:
                call = next(calls)
                try:
                    answer = await http.request(call.method, call.path, content=call.content)
                    said = str(answer.status_code)
                except httpx.HTTPError as error:
                    said = type(error).__name__
                answers[said] = answers.get(said, 0) + 1

        runs = [await _endless(http, number) for number in range(2)]
        say(f"Endless runs of the hostile project: {runs}")
        asking = [asyncio.create_task(ask()) for _ in range(connections)]
        asking += [asyncio.create_task(_never_ends(info)) for _ in range(20)]
        try:
            yield answers
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)


async def _endless(http: httpx.AsyncClient, number: int) -> str:
    body = {"name": f"endless_{number}", "query": {"query": _STATEMENTS[-1]}}
    view = (await http.post(_VIEWS, json=body)).json()
    await http.post(f"{_VIEWS}{view['id']}/materialize/")
    return str(view["id"])


async def _never_ends(info: DevInfo) -> None:
    """Send the head of a request byte by byte, without an end."""
    host, _, port = info["api_url"].removeprefix("http://").partition(":")
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /api/projects/1/ HTTP/1.1\r\nHost: x\r\nX: ")
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.2)
        await asyncio.sleep(0.2)


def _calls(sources: Path) -> Iterator[Call]:
    for number, sql in enumerate(_STATEMENTS):
        yield Call("POST", _VIEWS, _body(name=f"v{number}", query={"query": sql}))
    yield Call("POST", _VIEWS, b" " * 8_000_000)
    yield Call("POST", _VIEWS, _body(name="deep", query={"query": "SELECT 1"}) + b"[" * 100_000)
    yield Call("POST", _VIEWS, _body(name="extra", query={"query": "SELECT 1", "notes": "x" * 1_500_000}))
    yield Call("POST", _TABLES, _body(name="t", format="CSV", url_pattern=f"{sources}/{'*a' * 200}b"))
    yield Call("GET", f"{_VIEWS}?page_size=1000&search={'%25' * 40}", b"")
    yield Call("POST", f"{_VIEWS}resume_schedules/", _body(view_ids=["x" * 36] * 10_000))


def _body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


@asynccontextmanager
async def _watched(info: DevInfo) -> AsyncIterator[dict[str, float]]:
    """The most memory that the API and the worker hold, each with its descendants, in MiB."""
    most: dict[str, float] = {}

    async def look() -> None:
        while True:
            for name in ("api", "worker"):
                held = sum(map(_resident_mib, below(info["pids"][name])))
                most[name] = max(most.get(name, 0), held)
            await asyncio.sleep(_SAMPLE_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield most
    finally:
        looking.cancel()


def _resident_mib(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 2**20
    except (OSError, IndexError):
        return 0
