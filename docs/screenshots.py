"""`make screenshots`: takes pictures of the Temporal UI for the documentation, on a stack of its own.

Needs Chromium (`chromium` or the program that CHROMIUM names). Everything on the pages is real: the views are first
saved and run through the API, where some runs fail or are cancelled.
"""

import asyncio
import base64
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.common import Api, Json
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack, Ports

_HERE = Path(__file__).parent / "images"
# Long enough for a page to load all that it shows.
_PATIENCE_SECONDS = 4
_SLOW = "SELECT sum(sin(a.range * b.range)) AS total FROM orders, range(3000000) a, range(20000) b"


async def main() -> None:
    """Create views whose runs end in every way, and take a picture of each page."""
    browser = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if browser is None:
        sys.exit("Chromium is needed to take screenshots.")
    _HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mv-shots-") as temporary:
        folder = Path(temporary)
        ports = Ports(api=0, temporal=0, ui=0)
        async with DevStack(
            folder / "home", ports, bootstrap=bootstrap, say=print, extra_source_roots=[folder]
        ) as stack:
            pages = await _prepare(Api(stack), folder)
            async with _browser(browser, folder / "profile") as address, connect(address, max_size=None) as page:
                for name, path in pages.items():
                    url = f"{stack.info['temporal_ui_url']}/namespaces/default/{path}"
                    await _shoot(page, url, _HERE / f"{name}.png")


async def _prepare(api: Api, folder: Path) -> dict[str, str]:
    """Create the views; returns the path in the UI of each page, by the name of its picture."""
    (folder / "orders.csv").write_text("day,country,amount\n2026-11-01,PT,12.5\n2026-11-01,DE,99\n2026-11-02,PT,7\n")
    await api.add_table("orders", folder / "orders.csv", "CSVWithNames")
    by_day = await api.materialized("orders_by_day", "SELECT day, sum(amount) AS total FROM orders GROUP BY day")
    await api.materialized("best_day", "SELECT * FROM orders_by_day ORDER BY total DESC LIMIT 1")
    failed = await _started(api, "countries_as_numbers", "SELECT country::INTEGER AS n FROM orders")
    cancelled = await _started(api, "cancelled_by_ada", _SLOW)
    await asyncio.sleep(1)
    await api.call("POST", f"/warehouse_saved_queries/{cancelled}/cancel/")
    running = await _started(api, "all_pairs", _SLOW)
    member = await _refreshed(api)
    await asyncio.sleep(8)
    runs = {
        n: (await api.history(v))[0] for n, v in (("failed", failed), ("cancelled", cancelled), ("running", running))
    }
    of_several = (await api.history(member))[0]
    return {
        "generation": _page_of(of_several, "timeline"),
        "generation-details": _page_of(of_several, "user-metadata"),
        "schedules": "schedules",
        "schedule": f"schedules/{quote(f'materialize/{by_day}', safe='')}",
        "workflows": "workflows",
        **{name: _page_of(run, "history") for name, run in runs.items()},
        "failed-details": _page_of(runs["failed"], "user-metadata"),
        "running-details": _page_of(runs["running"], "user-metadata"),
    }


def _page_of(run: Json, tab: str) -> str:
    return f"workflows/{quote(run['workflow_id'], safe='')}/{run['workflow_run_id']}/{tab}"


async def _refreshed(api: Api) -> str:
    """Start a refresh of several views, one of which fails and one takes long; returns the id of a view of it."""
    statements = {
        "staged_orders": "SELECT day::DATE AS day, country, amount::DECIMAL(9, 2) AS amount FROM orders",
        "orders_by_country": "SELECT country, sum(amount) AS total FROM staged_orders GROUP BY country",
        "countries": "SELECT error('no such country: ' || country) AS name FROM staged_orders",
        "named_totals": "SELECT name, total FROM countries, orders_by_country",
        "weights": _SLOW.replace("orders", "staged_orders"),
        "best_weights": "SELECT max(total) AS best FROM weights",
    }
    views = {}
    for name, sql in statements.items():
        views[name] = await api.create(name, sql)
        await api.call("POST", f"/warehouse_saved_queries/{views[name]}/materialize/", {"run": False})
    await api.call("POST", "/generations/", {"select": {"views": list(views.values())}})
    return views["weights"]


async def _started(api: Api, name: str, sql: str) -> str:
    view_id = await api.create(name, sql)
    await api.call("POST", f"/warehouse_saved_queries/{view_id}/materialize/")
    return view_id


@asynccontextmanager
async def _browser(program: str, profile: Path) -> AsyncIterator[str]:
    """Run a headless browser; yields the WebSocket address that controls its one page."""
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
    command = [
        *(program, "--headless", "--no-sandbox", "--disable-gpu", *quiet, "--remote-debugging-port=0"),
        *(f"--user-data-dir={profile}", "--window-size=1500,1100", "--hide-scrollbars", "about:blank"),
    ]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        port_file = profile / "DevToolsActivePort"
        while not port_file.exists():  # noqa: ASYNC110 - a browser cannot set an event
            await asyncio.sleep(0.1)
        port = port_file.read_text().split()[0]
        async with httpx.AsyncClient() as http:
            pages = (await http.get(f"http://127.0.0.1:{port}/json/list")).json()
        yield next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
    finally:
        process.terminate()
        await process.wait()


async def _shoot(page: ClientConnection, url: str, target: Path) -> None:
    await _tell(page, "Page.navigate", url=url)
    await asyncio.sleep(_PATIENCE_SECONDS)
    picture = await _tell(page, "Page.captureScreenshot", format="png")
    target.write_bytes(  # noqa: ASYNC240 - nothing else goes on
        base64.b64decode(picture["data"])
    )


async def _tell(page: ClientConnection, method: str, **parameters: object) -> Json:
    number = time.monotonic_ns() % 1_000_000_000
    await page.send(json.dumps({"id": number, "method": method, "params": parameters}))
    while True:
        answer: Json = json.loads(await page.recv())
        if answer.get("id") == number:
            result: Json = answer["result"]
            return result


if __name__ == "__main__":
    asyncio.run(main())
