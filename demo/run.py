"""The HTTP client of the demonstration: registers the files, saves the views, materializes and runs them."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from demo.catalog import VIEWS, DemoView
from demo.console import DemoError
from demo.data import SOURCES
from demo.progress_table import Board
from orchestrator.cli.follow import pick_started_run, progress_text, result_line
from orchestrator.devstack.home import DevInfo

Json = dict[str, Any]

_TABLES, _VIEWS = "warehouse_tables/", "warehouse_saved_queries/"
_POLL_SECONDS = 0.15


@dataclass(frozen=True)
class Result:
    """The published result of a view: its run, as the API returns it, and the folder of its files."""

    run: Json
    folder: Path


async def build(info: DevInfo, data: Path) -> dict[str, Result]:
    """Bring every view up to date. Tables and views of an earlier start are used again.

    Args:
        info: The addresses and the API key of the stack.
        data: The folder of the source files.

    Returns:
        The result of each materialized view, by its name.

    Raises:
        DemoError: When the API refuses something, or a run fails.
    """
    async with _client(info) as client:
        await _add_tables(client, data)
        # One after the other: a view can be saved only after those that it reads.
        views = {view.name: await _save(client, view) for view in VIEWS}
        runs = await _run_all(client, views)
    snapshots = Path(info["data_dir"]) / "snapshots" / info["project_id"]
    return {name: Result(run, _folder(snapshots / views[name]["id"], run["id"])) for name, run in runs.items()}


def _client(info: DevInfo) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"{info['api_url']}/api/projects/{info['project_id']}/",
        headers={"Authorization": f"Bearer {info['api_key']}"},
        timeout=60,
        trust_env=False,  # the API runs on this machine, which no proxy can reach
    )


async def _add_tables(client: httpx.AsyncClient, data: Path) -> None:
    listed = await _ask(client, "GET", _TABLES, params={"page_size": 1000})
    known = {table["name"]: table["url_pattern"] for table in listed["results"]}
    for source in SOURCES:
        pattern = source.in_folder(data)
        if source.name not in known:
            body = {"name": source.name, "format": source.format, "url_pattern": pattern}
            await _ask(client, "POST", _TABLES, json=body)
        elif known[source.name] != pattern:
            raise DemoError(
                f"the table {source.name} of an earlier demonstration reads {known[source.name]}; "
                "remove the demonstration's folder to begin anew"
            )


async def _save(client: httpx.AsyncClient, view: DemoView) -> Json:
    body = {
        "name": view.name,
        "description": view.description,
        "query": {"kind": "SQLQuery", "query": view.sql.strip()},
        "soft_update": True,  # an earlier version of this demonstration may have saved another query
    }
    return await _ask(client, "POST", _VIEWS, json=body)


async def _run_all(client: httpx.AsyncClient, views: Mapping[str, Json]) -> dict[str, Json]:
    """Run each materialized view as soon as those that it reads have run."""
    tasks: dict[str, asyncio.Task[Json]] = {}

    async def run(view: DemoView, board: Board) -> Json:
        await asyncio.gather(*(tasks[name] for name in view.reads))
        return await _run(client, views[view.name], board)

    with Board([view.name for view in VIEWS if view.materialized]) as board:
        for view in VIEWS:
            if view.materialized:
                tasks[view.name] = asyncio.create_task(run(view, board))
        try:
            return dict(zip(tasks, await asyncio.gather(*tasks.values()), strict=True))
        finally:
            await _cancel(tasks.values())


async def _run(client: httpx.AsyncClient, view: Json, board: Board) -> Json:
    """Run a view, or materialize it, which runs it too. Returns the run once it has completed."""
    path = f"{_VIEWS}{view['id']}/"
    before = await _runs(client, path)
    board.show(view["name"], "starting")
    if view["is_materialized"]:  # of an earlier start; its query is to run also if nothing has changed since
        await _ask(client, "POST", f"{path}run/", json={"full_refresh": True})
    else:
        await _ask(client, "POST", f"{path}materialize/", json={})
    run_id = None
    while True:
        runs = await _runs(client, path)
        run_id = run_id or pick_started_run(before, runs)
        run = next((run for run in runs if run["id"] == run_id), None)
        if run is not None and run["status"] != "Running":
            break
        if run is not None and run["progress"] is not None:
            board.show(view["name"], progress_text(run["progress"]))
        await asyncio.sleep(_POLL_SECONDS)
    if run["status"] != "Completed":
        board.show(view["name"], run["status"].lower())
        raise DemoError(f"the run of {view['name']} ended as {run['status']}: {run['error'] or 'no reason is known'}")
    board.show(view["name"], result_line(run), done=True)
    return run


async def _runs(client: httpx.AsyncClient, path: str) -> list[Json]:
    history: list[Json] = (await _ask(client, "GET", path + "run_history/", params={"limit": 10}))["run_history"]
    return history


async def _ask(client: httpx.AsyncClient, method: str, path: str, **arguments: Any) -> Json:  # noqa: ANN401 - httpx's
    try:
        response = await client.request(method, path, **arguments)
    except httpx.TransportError as error:
        raise DemoError(f"the API does not answer: {error or type(error).__name__}") from None
    if response.is_success:
        found: Json = response.json()
        return found
    with suppress(ValueError, KeyError, TypeError):
        raise DemoError(f"{method} {path}: {response.json()['detail']} (HTTP {response.status_code})")
    raise DemoError(f"{method} {path}: HTTP {response.status_code}")


async def _cancel(tasks: Collection[asyncio.Task[Json]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _folder(of_view: Path, run_id: str) -> Path:
    """The folder of the run's files. A folder is named by run and attempt, and the last attempt published its own."""
    found = sorted(of_view.glob(f"{run_id}-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    if not found:
        raise DemoError(f"no files of run {run_id} lie in {of_view}")
    return found[-1]
