"""The journey of a new user in a real browser, and the faults that no page may have."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.console.support import WIDTHS, Watch, address, axe, signed_in
from tests.support.tenants import Tenant, write_parquet

SCHEMES = ("light", "dark")
# It fails when the orders have a customer without a number.
BROKEN = "SELECT CAST(customer AS INTEGER) AS customer, sum(amount) AS total FROM clean_orders GROUP BY 1"
REPAIRED = "SELECT TRY_CAST(customer AS INTEGER) AS customer, sum(amount) AS total FROM clean_orders GROUP BY 1"


async def a_shop(tenant: Tenant, folder: Path) -> dict[str, Any]:
    """Orders, and three materialized views over them, of which one has failed and the one behind it too."""
    customers = ["1", "2", "x", "2"]
    write_parquet(folder / "orders.parquet", day=["2026-01-01"] * 4, customer=customers, amount=[10, 20, 30, 40])
    await tenant.add_table("orders", folder / "*.parquet")
    views = {}
    for name, sql in (
        ("clean_orders", "SELECT * FROM orders WHERE amount > 0"),
        ("by_customer", BROKEN),
        ("best", "SELECT * FROM by_customer ORDER BY total DESC LIMIT 1"),
        ("by_day", "SELECT day, sum(amount) AS total FROM clean_orders GROUP BY 1"),
    ):
        views[name] = await tenant.create_view(name, sql)
        await tenant.act(views[name]["id"], "materialize")
        await tenant.ended(views[name]["id"])
    return views


async def no_overflow(page: Page) -> None:
    """Nothing is wider than the window but what scrolls in itself."""
    wider = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0, page.url


async def test_a_new_user_finds_out_why_a_view_fails_and_repairs_it(
    browser: Browser, tenant: Tenant, folder: Path, pictures: Path
) -> None:
    views = await a_shop(tenant, folder)
    base = f"{address(tenant)}/projects/{tenant.project_id}"
    context, watch = await signed_in(browser, tenant, viewport={"width": 1400, "height": 900})
    page = await context.new_page()
    await find_out_why(page, base, pictures)
    await repair(page, pictures)
    await refresh_and_read(page, base, views, pictures)
    await roll_back_and_resume(page, base, views, pictures)
    watch.check()
    await context.close()


async def find_out_why(page: Page, base: str, pictures: Path) -> None:
    """The graph: two nodes have failed. A click opens the one in front, which says why at its head."""
    await page.goto(f"{base}/graph")
    await expect(page.locator("#graph a")).to_have_count(5)
    await expect(page.locator("#graph .s-failed")).to_have_count(2)
    await page.screenshot(path=pictures / "1-graph.png")
    await page.locator("#graph a", has_text="by_customer").click()
    await expect(page.locator("h1")).to_contain_text("by_customer")
    await expect(page.locator("section.problem")).to_contain_text("Could not convert string 'x' to INT32")
    await page.screenshot(path=pictures / "2-why.png")


async def repair(page: Page, pictures: Path) -> None:
    """A statement that does not bind is refused at its place; the plan of one that does is shown, and then saved."""
    await page.get_by_role("link", name="Edit").click()
    await type_sql(page, "SELECT custmer FROM clean_orders")
    await page.get_by_role("button", name="Show the plan").click()
    await expect(page.locator("#plan .problem")).to_contain_text("custmer")
    await expect(page.get_by_role("button", name="Save")).to_have_count(0)
    await expect(page.locator(".ace_editor .wrong")).to_have_count(1)
    await page.screenshot(path=pictures / "3-refused.png")
    await type_sql(page, REPAIRED)
    await page.get_by_role("button", name="Show the plan").click()
    await expect(page.get_by_role("button", name="Save and refresh 2")).to_be_visible()
    await page.screenshot(path=pictures / "4-plan.png")
    await page.get_by_role("button", name="Save and refresh 2").click()
    await page.wait_for_url("**/refreshes/*")
    await expect(page.locator("h1")).to_contain_text("Completed", timeout=60_000)
    await expect(page.locator(".gantt .line.s-completed")).to_have_count(2)
    await page.screenshot(path=pictures / "5-refreshed.png")


async def refresh_and_read(page: Page, base: str, views: dict[str, Any], pictures: Path) -> None:
    """A refresh with upstream moves by itself; rows of a view, and of a query."""
    await page.goto(f"{base}/views/{views['best']['id']}")
    await expect(page.locator("h1")).to_contain_text("Fresh")
    await page.get_by_role("button", name="Refresh with upstream").click()
    await page.wait_for_url("**/refreshes/*")
    await expect(page.locator("h1 .state")).to_have_text("Skipped", timeout=60_000)
    await page.screenshot(path=pictures / "6-upstream.png")
    await page.goto(f"{base}/views/{views['by_customer']['id']}/rows")
    await expect(page.locator("table.data tbody tr")).to_have_count(3)
    await page.screenshot(path=pictures / "7-rows.png")
    await page.get_by_role("link", name="Query", exact=True).click()
    await type_sql(page, "SELECT sum(total) AS all_of_it FROM by_customer")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator("#result table.data td")).to_have_text("100")
    await page.screenshot(path=pictures / "8-query.png")


async def roll_back_and_resume(page: Page, base: str, views: dict[str, Any], pictures: Path) -> None:
    """A second version; back to the first, which pauses the schedule; and on again."""
    await page.goto(f"{base}/views/{views['by_day']['id']}")
    await page.get_by_role("button", name="Run", exact=True).click()
    await page.wait_for_url("**/runs")
    await expect(page.locator("tbody tr .s-completed")).to_have_count(2, timeout=60_000)
    await page.get_by_role("navigation", name="Of this view").get_by_role("link", name="Versions").click()
    await page.locator("summary", has_text="Roll back").first.click()
    await expect(page.get_by_role("button", name="Roll back to it")).to_be_visible()
    await page.screenshot(path=pictures / "9-roll-back.png")
    await page.get_by_role("button", name="Roll back to it").click()
    await expect(page.locator("h1 .state")).to_have_text("Paused")
    await expect(page.locator("tbody tr").nth(1)).to_contain_text("Current")
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator("h1 .state")).to_have_text("Fresh")
    await expect(page.get_by_role("button", name="Resume")).to_have_count(0)
    await page.screenshot(path=pictures / "10-resumed.png")


async def type_sql(page: Page, sql: str) -> None:
    """Replace what is in the editor, with the keyboard."""
    await page.locator(".ace_editor").click()
    await page.keyboard.press("Control+A")
    await page.keyboard.insert_text(sql)


async def all_pages(tenant: Tenant, folder: Path) -> dict[str, str]:
    views = await a_shop(tenant, folder)
    view, failed = views["by_day"]["id"], views["by_customer"]["id"]
    await tenant.act(view, "run")
    await tenant.ended(view, runs=2)
    path = f"/warehouse_saved_queries/{view}"
    check = {"check_type": "unique", "column_name": "day", "severity": "warn"}
    await tenant.call("POST", f"{path}/checks/", check, expect=201)
    generation = (await tenant.call("GET", "/generations/"))["results"][0]["id"]
    table = (await tenant.call("GET", "/warehouse_tables/"))["results"][0]["id"]
    versions = (await tenant.call("GET", f"{path}/snapshots/"))["results"]
    of_view = {name or "overview": f"/views/{view}/{name}".rstrip("/") for name in VIEW_TABS}
    return {
        **of_view,
        "views": "/views",
        "failed": f"/views/{failed}",
        "no-rows": f"/views/{failed}/rows",
        "diff": f"/views/{view}/versions/{versions[-1]['id']}/diff",
        "edit": f"/views/{view}/edit",
        "new": "/new",
        "graph": "/graph",
        "graph-around": f"/graph?view={view}",
        "refreshes": "/refreshes",
        "refresh": f"/refreshes/{generation}",
        "query": "/query",
        "sources": "/sources",
        "source": f"/sources/{table}",
        "nothing-found": "/views?search=zzz",
        "no-page": "/zzz",
    }


VIEW_TABS = ("", "rows", "runs", "versions", "checks", "activity")


async def test_no_page_has_a_fault(browser: Browser, tenant: Tenant, folder: Path, pictures: Path) -> None:
    ways = await all_pages(tenant, folder)
    base = f"{address(tenant)}/projects/{tenant.project_id}"
    faults: dict[str, list[str]] = {}
    for width in WIDTHS:
        for scheme in SCHEMES:
            viewport = {"width": width, "height": 900}
            context, watch = await signed_in(browser, tenant, viewport=viewport, color_scheme=scheme)
            page = await context.new_page()
            for name, way in ways.items():
                await page.goto(base + way)
                await page.wait_for_timeout(250)
                await no_overflow(page)
                faults[f"{name} {width} {scheme}"] = await axe(page)
                await page.screenshot(path=pictures / f"{name}-{width}-{scheme}.png", full_page=True)
            watch.check()
            await context.close()
    assert {name: found for name, found in faults.items() if found} == {}


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_page_to_sign_in_has_no_fault(browser: Browser, tenant: Tenant, pictures: Path, scheme: Any) -> None:
    context = await browser.new_context(color_scheme=scheme)
    watch = Watch(address(tenant).removeprefix("http://"))
    context.on("page", watch.add_to)
    page = await context.new_page()
    await page.goto(address(tenant))
    await page.screenshot(path=pictures / f"sign-in-{scheme}.png")
    assert not await axe(page)
    await page.get_by_label("API key").fill("mv_wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("Invalid personal API key.")
    assert not await axe(page)
    await page.get_by_label("API key").fill(tenant.token)
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text("Views")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.locator("h1")).to_have_text("Sign in")
    watch.check()
    await context.close()


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_the_documents_of_the_api_need_no_other_host(
    browser: Browser, tenant: Tenant, pictures: Path, path: str
) -> None:
    context = await browser.new_context()
    watch = Watch(address(tenant).removeprefix("http://"))
    context.on("page", watch.add_to)
    page = await context.new_page()
    await page.goto(address(tenant) + path)
    await expect(page.get_by_text("Roll Back View").or_(page.get_by_text("rollback")).first).to_be_attached(
        timeout=30_000
    )
    await page.screenshot(path=pictures / f"{path[1:]}.png")
    watch.check()
    await context.close()


async def test_the_keyboard_alone_reaches_a_view_from_the_graph(browser: Browser, tenant: Tenant, folder: Path) -> None:
    await a_shop(tenant, folder)
    context, watch = await signed_in(browser, tenant)
    page = await context.new_page()
    await page.goto(f"{address(tenant)}/projects/{tenant.project_id}/graph")
    await expect(page.locator("#graph a")).to_have_count(5)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    for _ in range(12):
        await page.keyboard.press("Tab")
        if "by_day" in (await page.evaluate("document.activeElement.textContent") or ""):
            break
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_contain_text("by_day")
    watch.check()
    await context.close()


async def test_the_pages_work_without_scripts(browser: Browser, tenant: Tenant, folder: Path) -> None:
    views = await a_shop(tenant, folder)
    context, _ = await signed_in(browser, tenant, java_script_enabled=False)
    page = await context.new_page()
    base = f"{address(tenant)}/projects/{tenant.project_id}"
    await page.goto(f"{base}/views/{views['by_customer']['id']}/edit")
    await page.locator("#sql").fill(REPAIRED)
    await page.get_by_role("button", name="Show the plan").click()
    await expect(page.locator("#plan")).to_contain_text("To refresh after it: 2")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.locator("h1")).to_contain_text("by_customer")
    assert (await tenant.view(views["by_customer"]["id"]))["query"]["query"] == REPAIRED
    await (
        page.get_by_role("button", name="Cancel the run")
        .or_(page.get_by_role("button", name="Run", exact=True))
        .click()
    )
    await expect(page.get_by_role("navigation", name="Of this view")).to_be_visible()
    await context.close()
