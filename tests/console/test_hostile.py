"""Names, statements and cells that a person wrote to harm another are text, on every page that shows them."""

import html
import json
from pathlib import Path

from playwright.async_api import Browser

from tests.console.support import a_console, axe, signed_in
from tests.support.tenants import Tenant

HOSTILE = [
    "<script>window.hit = 1</script>",
    "</script><script>window.hit = 1</script>",
    "<img src=x onerror=window.hit=1>",
    "<svg onload=window.hit=1>",
    "<svg><script>window.hit=1</script></svg>",
    "'><script>window.hit = 1</script>",
    '"><script>window.hit = 1</script>',
    '" onmouseover=window.hit=1 x="',
    "' onfocus=window.hit=1 autofocus x='",
    "` onclick=window.hit=1 `",
    "javascript:window.hit=1",
    "<a href=javascript:window.hit=1>click</a>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<iframe src=javascript:parent.hit=1>",
    "<object data=javascript:window.hit=1>",
    "<embed src=javascript:window.hit=1>",
    "<form action=javascript:window.hit=1><button>x</button></form>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content=0;url=https://evil.example>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<style>@import 'https://evil.example/x.css';</style>",
    "<style>body{display:none}</style>",
    "<img src=https://evil.example/pixel.png>",
    "<video src=https://evil.example/x.mp4 autoplay>",
    "<body onload=window.hit=1>",
    "<details open ontoggle=window.hit=1>",
    "<input autofocus onfocus=window.hit=1>",
    "<marquee onstart=window.hit=1>",
    "<template><script>window.hit=1</script></template>",
    "<math><mtext></mtext><script>window.hit=1</script></math>",
    "<!--<img src=--><img src=x onerror=window.hit=1>",
    "]]><script>window.hit=1</script>",
    "{{7*7}}{% raw %}{{ request }}{% endraw %}",
    "${window.hit=1}",
    "<div hx-get=https://evil.example hx-trigger=load>",
    "<div hx-on:htmx:load=window.hit=1>",
    "<div data-hx-post=/sign-out hx-trigger=load>",
    "&lt;script&gt;window.hit=1&lt;/script&gt;",
    "\u202egnp.exe\u2066<script>window.hit=1</script>",
    "a\x01b\x7f\u2028window.hit=1\u2029",
]


def sql_text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def statement() -> str:
    values = ", ".join(f"({n}, {sql_text(one)}, [{sql_text(one)}])" for n, one in enumerate(HOSTILE))
    names = ", ".join(['"<b>n</b>"', '"<img src=x onerror=window.hit=1>"', '"""><script>window.hit=1</script>"'])
    comments = "\n".join(f"-- {one}" for one in HOSTILE[:-1])
    return f"{comments}\nSELECT * FROM (VALUES {values}) AS t({names}) ORDER BY 1"


async def test_forty_hostile_texts_are_shown_and_do_nothing(browser: Browser, tenant: Tenant, folder: Path) -> None:
    assert len(HOSTILE) == 40
    (folder / "<svg onload=window.hit=1>.csv").write_text("<b>a</b>\n" + "\n".join(map(json.dumps, HOSTILE[:3])) + "\n")
    await tenant.add_table("files", folder / "*.csv", "CSVWithNames")
    text = "\n".join(HOSTILE[:-1]) + HOSTILE[-1].replace("\x01", "")
    view = await tenant.create_view("hostile", statement(), description=text[:9_000])
    await tenant.act(view["id"], "materialize")
    await tenant.ended(view["id"])
    path = f"/warehouse_saved_queries/{view['id']}/checks/"
    check = {"check_type": "accepted_values", "column_name": "<b>n</b>", "config": {"values": [1]}, "severity": "warn"}
    await tenant.call("POST", path, {**check, "description": text[:3_900]}, expect=201)
    failing = await tenant.create_view("failing", f"SELECT error({sql_text(HOSTILE[0])}) AS x FROM hostile")
    await tenant.act(failing["id"], "materialize")
    await tenant.act(view["id"], "run")
    await tenant.ended(failing["id"])
    await tenant.ended(view["id"], runs=2)

    context, watch = await signed_in(browser, tenant)
    page = await context.new_page()
    base = f"/projects/{tenant.project_id}"
    of_view = [f"{base}/views/{view['id']}{tab}" for tab in ("", "/rows", "/runs", "/versions", "/checks", "/activity")]
    ways = [*of_view, f"{base}/views", f"{base}/graph", f"{base}/sources", f"{base}/refreshes", f"{base}/names.json"]
    ways += [f"{base}/views/{view['id']}/edit", f"{base}/views/{failing['id']}", f"{base}/views/{failing['id']}/runs"]
    for way in ways:
        await page.goto(str(tenant.http.base_url).split("/api/")[0] + way)
        await page.wait_for_timeout(150)
        assert await page.evaluate("window.hit") is None, way
        assert await page.evaluate("location.pathname") == way
        await page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert await page.evaluate("window.hit") is None, way
    await page.goto(str(tenant.http.base_url).split("/api/")[0] + of_view[1])
    shown = await page.locator("table.data td:nth-child(2)").all_text_contents()
    assert [one.replace("\r", "") for one in shown] == HOSTILE
    assert not await axe(page)
    watch.check()
    await context.close()


async def test_what_is_searched_or_typed_is_shown_as_text(tenant: Tenant) -> None:
    async with a_console(tenant) as console:
        base = f"/projects/{tenant.project_id}"
        for one in HOSTILE:
            found = await console.http.get(f"{base}/views", params={"search": one[:100]})
            assert one[:100] not in found.text or html.escape(one[:100]) == one[:100]
            asked = await console.act(f"{base}/query", sql=one)
            assert asked.status_code == 400
            assert one not in asked.text or html.escape(one) == one
            planned = await console.act(f"{base}/new/plan", sql=one, name=one[:100], description=one)
            assert one not in planned.text or html.escape(one) == one
            signing = await console.http.get("/sign-in", params={"next": f"/{one}"})
            assert one not in signing.text or html.escape(one) == one
