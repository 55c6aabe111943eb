"""Each act of the pages, as a form without scripts sends it. The API then says whether it was done."""

from pathlib import Path

from tests.console.support import Console, a_console
from tests.support.tenants import ENDLESS, Json, Tenant, write_parquet


async def done(console: Console, path: str, **form: str) -> None:
    """An act, after which the browser is sent to a page that can be shown."""
    answer = await console.act(path, **form)
    assert answer.status_code == 303, answer.text
    shown = await console.http.get(answer.headers["location"])
    assert shown.status_code == 200


def views_of(tenant: Tenant) -> str:
    return f"/projects/{tenant.project_id}/views"


async def snapshots(tenant: Tenant, view: Json) -> list[Json]:
    found: list[Json] = (await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/snapshots/"))["results"]
    return found


async def test_a_run_is_cancelled(tenant: Tenant) -> None:
    view = await tenant.create_view("slow", ENDLESS)
    async with a_console(tenant) as console:
        await done(console, f"{views_of(tenant)}/{view['id']}/materialize", sync_frequency="1hour")
        await tenant.running(view["id"])
        await done(console, f"{views_of(tenant)}/{view['id']}/cancel")
    assert (await tenant.ended(view["id"]))["status"] == "Cancelled"


async def test_a_refresh_is_cancelled(tenant: Tenant) -> None:
    view = await tenant.create_view("slow", ENDLESS)
    await tenant.act(view["id"], "materialize", {"run": False})
    async with a_console(tenant) as console:
        began = await console.act(f"/projects/{tenant.project_id}/refresh-all")
        await tenant.running(view["id"])
        await done(console, f"{began.headers['location']}/cancel")
    assert (await tenant.ended(view["id"]))["status"] == "Cancelled"


async def test_a_timing_is_changed_and_a_materialization_is_reverted(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    path = f"{views_of(tenant)}/{view['id']}"
    async with a_console(tenant) as console:
        await done(console, f"{path}/materialize", cron="0 6 * * *", time_zone="Europe/Berlin")
        assert (await tenant.view(view["id"]))["cron"] == "0 6 * * *"
        await done(console, f"{path}/materialize", sync_frequency="6hour")
        assert (await tenant.view(view["id"]))["sync_frequency"] == "6hour"
        await done(console, f"{path}/revert")
    assert not (await tenant.view(view["id"]))["is_materialized"]


async def test_a_version_is_pinned_and_rolled_back_to(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT random() AS n")
    path = f"{views_of(tenant)}/{view['id']}"
    async with a_console(tenant) as console:
        await done(console, f"{path}/run")
        await tenant.ended(view["id"], runs=2)
        current, before = await snapshots(tenant, view)
        assert current["is_current"]
        await done(console, f"{path}/versions/{before['id']}/pin", pinned="1")
        assert (await snapshots(tenant, view))[1]["pinned"]
        await done(console, f"{path}/rollback", version=before["id"])
        assert (await snapshots(tenant, view))[1]["is_current"]
        await done(console, f"{path}/versions/{before['id']}/pin")
    assert not (await snapshots(tenant, view))[1]["pinned"]


async def test_a_check_is_run_and_a_version_that_it_blocks_is_promoted(tenant: Tenant) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n UNION ALL SELECT NULL")
    check = await tenant.call(
        "POST",
        f"/warehouse_saved_queries/{view['id']}/checks/",
        {"check_type": "not_null", "column_name": "n", "severity": "error"},
        expect=201,
    )
    await tenant.act(view["id"], "materialize")
    assert (await tenant.ended(view["id"]))["status"] == "Failed"
    path = f"{views_of(tenant)}/{view['id']}"
    async with a_console(tenant) as console:
        (blocked,) = await snapshots(tenant, view)
        await done(console, f"{path}/versions/{blocked['id']}/promote", reason="one row is known to be empty")
        assert (await snapshots(tenant, view))[0]["is_current"]
        await done(console, f"{path}/checks/{check['id']}/run")
        assert "Failed" in (await console.http.get(f"{path}/checks")).text


async def test_a_view_is_deleted_unless_another_reads_it(tenant: Tenant) -> None:
    base = await tenant.create_view("base", "SELECT 1 AS n")
    above = await tenant.create_view("above", "SELECT n FROM base")
    async with a_console(tenant) as console:
        refused = await console.act(f"{views_of(tenant)}/{base['id']}/delete")
        assert (refused.status_code, "above" in refused.text) == (400, True)
        for view in (above, base):
            await done(console, f"{views_of(tenant)}/{view['id']}/delete")
    assert (await tenant.call("GET", "/warehouse_saved_queries/"))["count"] == 0


async def test_a_source_table_is_added_read_again_and_deleted(tenant: Tenant, folder: Path) -> None:
    write_parquet(folder / "1.parquet", n=[1])
    base = f"/projects/{tenant.project_id}/sources"
    async with a_console(tenant) as console:
        await done(console, base, name="t", format="Parquet", url_pattern=f"{folder}/*.parquet")
        (table,) = (await tenant.call("GET", "/warehouse_tables/"))["results"]
        write_parquet(folder / "1.parquet", n=[1], s=["x"])
        await done(console, f"{base}/{table['id']}/refresh-schema")
        found = await tenant.call("GET", f"/warehouse_tables/{table['id']}/")
        assert [column["name"] for column in found["columns"]] == ["n", "s"]
        await done(console, f"{base}/{table['id']}/delete")
    assert (await tenant.call("GET", "/warehouse_tables/"))["count"] == 0
