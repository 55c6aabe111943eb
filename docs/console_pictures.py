"""`make screenshots`: takes pictures of the console for the documentation, on a stack of its own.

Needs Chromium, as the pictures of the Temporal UI do. All that is on the pages is real.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from benchmarks.common import Api
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack, Ports

_HERE = Path(__file__).parent / "images"
_PATIENCE_MS = 1_500
_RUNS = 6
# Views that fail or go on; a failure takes less than these seconds.
_UNFINISHED = {"customer_numbers", "numbers_by_country", "simulated_year"}
_SECONDS_OF_FAILURE = 5
_SLOW = "SELECT sum(sin(a.range * b.range)) AS total FROM kept_orders, range(3000000) a, range(20000) b"
_VIEWS = {
    "orders_by_day": "SELECT day, count(*) AS orders, sum(amount) AS revenue FROM kept_orders GROUP BY day",
    "orders_by_customer": "SELECT customer, country, sum(amount) AS revenue FROM kept_orders GROUP BY ALL",
    "best_customers": "SELECT * FROM orders_by_customer ORDER BY revenue DESC LIMIT 10",
    "revenue_by_country": "SELECT country, sum(revenue) AS revenue FROM orders_by_customer GROUP BY country",
    "busiest_days": "SELECT * FROM orders_by_day ORDER BY orders DESC LIMIT 7",
    "customer_numbers": "SELECT CAST(customer AS INTEGER) AS number, country FROM orders_by_customer",
    "numbers_by_country": "SELECT country, max(number) AS last FROM customer_numbers GROUP BY country",
    "simulated_year": _SLOW,
}


async def main() -> None:
    """Make views whose runs end in every way, and take a picture of the pages."""
    browser = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if browser is None:
        sys.exit("Chromium is needed to take pictures.")
    with tempfile.TemporaryDirectory(prefix="mv-shots-") as temporary:
        folder = Path(temporary)
        ports = Ports(api=0, temporal=0, ui=0)
        async with DevStack(
            folder / "home", ports, bootstrap=bootstrap, say=print, extra_source_roots=[folder]
        ) as stack:
            api = Api(stack)
            ids = await _prepare(api, folder)
            async with async_playwright() as driver:
                started = await driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
                await _shoot(started, api, f"{stack.info['api_url']}/projects/{stack.info['project_id']}", ids)
                await started.close()


async def _prepare(api: Api, folder: Path) -> dict[str, str]:
    """Orders of a hundred days; views over them, one of which fails and one of which runs."""
    days = [f"2026-{1 + n % 4:02}-{1 + n % 25:02}" for n in range(5_000)]
    lines = [f"{day},c{n % 40},{('PT', 'DE', 'FR')[n % 3]},{n % 90}" for n, day in enumerate(days)]
    (folder / "orders.csv").write_text("\n".join(["day,customer,country,amount", *lines, ""]))
    await api.add_table("orders", folder / "orders.csv", "CSVWithNames")
    body = {"name": "kept_orders", "query": {"query": "SELECT * FROM orders WHERE amount > 0"}}
    await api.call("POST", "/warehouse_saved_queries/", body)
    ids = {}
    for name, sql in _VIEWS.items():
        made = await api.call("POST", "/warehouse_saved_queries/", {"name": name, "query": {"query": sql}})
        ids[name] = made["id"]
        await api.call("POST", f"/warehouse_saved_queries/{ids[name]}/materialize/", {"sync_frequency": "1hour"})
        if name not in _UNFINISHED:
            await api.ended(ids[name], runs=1)
    await asyncio.sleep(_SECONDS_OF_FAILURE)
    for number in range(2, _RUNS):
        for name in ("orders_by_day", "orders_by_customer", "best_customers", "busiest_days"):
            await api.call("POST", f"/warehouse_saved_queries/{ids[name]}/run/", {"full_refresh": True})
            await api.ended(ids[name], runs=number)
    return ids


async def _shoot(browser: Browser, api: Api, base: str, ids: dict[str, str]) -> None:
    link = (await api.call("POST", "/console_links/"))["url"]
    context = await browser.new_context(viewport={"width": 1280, "height": 640})
    page = await context.new_page()
    await page.goto(link)
    for name, path in {
        "console-views": "/views",
        "console-graph": "/graph",
        "console-failed": f"/views/{ids['customer_numbers']}",
        "console-runs": f"/views/{ids['orders_by_day']}/runs",
    }.items():
        await page.goto(base + path)
        await page.wait_for_timeout(_PATIENCE_MS)
        await page.screenshot(path=_HERE / f"{name}.png")


if __name__ == "__main__":
    asyncio.run(main())
