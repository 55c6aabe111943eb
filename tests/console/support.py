"""A browser for the tests: Debian's chromium, driven by Playwright, which downloads none of its own."""

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.async_api import Browser, BrowserContext, Page, Request, async_playwright

from tests.support.tenants import NO_TLS, PATIENCE, Tenant

_NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next((found for name in _NAMES if (found := shutil.which(name))), None)
AXE = Path(__file__).parent / "vendor/axe.min.js"
WIDTHS = (1400, 360)
_CSRF = re.compile(r'name="csrf" value="([0-9a-f]{64})"')
# They are the page's own answer to a request that it shows as an error: the browser writes a line of its own about it.
_EXPECTED = re.compile(r"the server responded with a status of 4\d\d")


@dataclass
class Watch:
    """All that a page must not do: errors, refused loads, requests to other hosts."""

    host: str
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def add_to(self, page: Page) -> None:
        page.on("console", lambda message: self._said(message.type, message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._requested)

    def check(self) -> None:
        assert not self.errors
        assert not self.elsewhere

    def _said(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and not _EXPECTED.search(text):
            self.errors.append(text)

    def _requested(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https", "ws"} and parts.netloc != self.host:
            self.elsewhere.append(request.url)


@asynccontextmanager
async def a_browser() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


def address(tenant: Tenant) -> str:
    """Where the console of a tenant's stack is."""
    return str(tenant.http.base_url).split("/api/")[0]


async def sign_in_link(tenant: Tenant) -> str:
    return str((await tenant.call("POST", "/console_links/", expect=201))["url"])


async def signed_in(browser: Browser, tenant: Tenant, **options: Any) -> tuple[BrowserContext, Watch]:
    """A window that is signed in with the tenant's key, and what must not happen in it."""
    context = await browser.new_context(**options)
    watch = Watch(urlsplit(address(tenant)).netloc)
    context.on("page", watch.add_to)
    page = await context.new_page()
    await page.goto(await sign_in_link(tenant))
    await page.close()
    return context, watch


async def axe(page: Page) -> list[str]:
    """The serious findings of axe on a page: what is wrong, and where."""
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [one for one in found["violations"] if one["impact"] in {"serious", "critical"}]
    return [f"{one['id']}: {node['html'][:200]}" for one in serious for node in one["nodes"]]


class Console:
    """The console without a browser: one session, its token of acts, and any header."""

    def __init__(self, base: str) -> None:
        self.http = httpx.AsyncClient(base_url=base, verify=NO_TLS, timeout=PATIENCE)
        self.csrf = ""

    async def sign_in(self, key: str) -> httpx.Response:
        answer = await self.http.post("/sign-in", data={"key": key})
        if answer.status_code == httpx.codes.SEE_OTHER:
            page = await self.http.get("/projects")
            found = _CSRF.search(page.text)
            assert found is not None, page.text
            self.csrf = found[1]
        return answer

    async def act(self, path: str, **form: str) -> httpx.Response:
        return await self.http.post(path, data={"csrf": self.csrf, **form})


@asynccontextmanager
async def a_console(tenant: Tenant, key: str | None = None) -> AsyncIterator[Console]:
    """A session of the tenant's key, or of another one."""
    console = Console(address(tenant))
    try:
        answer = await console.sign_in(key or tenant.token)
        assert answer.status_code == httpx.codes.SEE_OTHER, answer.text
        yield console
    finally:
        await console.http.aclose()
