"""A restore drill: the database from a dump, the store from a copy, and an empty Temporal server."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import xxhash

from orchestrator.catalog.database import Database
from orchestrator.devstack.backing_servers import Servers
from orchestrator.devstack.postgres import binary
from orchestrator.devstack.stack import DevStack
from orchestrator.doctor.report import Status
from orchestrator.doctor.run import run_doctor
from orchestrator.settings import load_settings
from orchestrator.temporal import contract
from tests.contract.support import schedule_of, temporal_of
from tests.support.commands import run_matview
from tests.support.operator import copied_pause
from tests.support.tenants import ENDLESS, PATIENCE, Json, Tenant, a_tenant, dev_stack, until, write_parquet

PAUSED = "paused by an operator"
CRON, ZONE = "0 6 13 * FRI", "Europe/Berlin"


@dataclass(frozen=True)
class Before:
    """The state of the installation when the backup was made."""

    daily: Json
    hourly: Json
    reader: Json
    plain: Json
    unended: Json
    history: list[Json]
    versions: list[Json]
    journal: list[Json]
    later: str


async def versions(tenant: Tenant, view: Json) -> list[Json]:
    found: list[Json] = (await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/snapshots/"))["results"]
    return found


async def journal(tenant: Tenant, view: Json) -> list[Json]:
    found: list[Json] = (await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/activity/"))["results"]
    return found


async def rerun(tenant: Tenant, view: Json, sql: str, runs: int) -> None:
    body = {"query": {"query": sql}, "soft_update": True}
    await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/", body)
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"], runs))["status"] == "Completed"


async def lived_in(stack: DevStack, tenant: Tenant, sources: Path, backup: Path) -> Before:
    """Use an installation, and back it up while it is in use. Returns the state in the backup."""
    await tenant.add_table("numbers", write_parquet(sources / "restore" / "numbers.parquet", n=[1, 2, 3]))
    daily = await tenant.materialized("daily", "SELECT n, 1 AS version FROM numbers")
    (first,) = await versions(tenant, daily)
    await tenant.call("PATCH", f"/warehouse_saved_queries/{daily['id']}/snapshots/{first['id']}/", {"pinned": True})
    await rerun(tenant, daily, "SELECT n, 2 AS version FROM numbers", 2)
    reader = await tenant.materialized("reader", "SELECT max(version) AS version FROM daily")
    reader = await tenant.act(reader["id"], "materialize", {"cron": CRON, "time_zone": ZONE})
    hourly = await tenant.materialized("hourly", "SELECT 1 AS n", "1hour")
    temporal = await temporal_of(stack)
    await temporal.get_schedule_handle(contract.schedule_id(UUID(hourly["id"]))).pause(note=PAUSED)
    plain = await tenant.create_view("plain", "SELECT n FROM daily")
    unended = await tenant.create_view("unended", ENDLESS)
    await tenant.act(unended["id"], "materialize")
    await tenant.running(unended["id"])

    copy(tenant.data_dir, backup)
    await reconciled(stack, tenant, hourly)
    await call("pg_dump", "--format=custom", "--no-owner", "--file", backup / "dump", tenant.database_url)
    history, kept, entries = (
        await tenant.history(daily["id"]),
        await versions(tenant, daily),
        await journal(tenant, daily),
    )
    await rerun(tenant, daily, "SELECT n, 3 AS version FROM numbers", 3)
    copy(tenant.data_dir, backup)
    later = (await versions(tenant, daily))[0]["location"]
    return Before(daily, hourly, reader, plain, unended, history, kept, entries, later)


async def reconciled(stack: DevStack, tenant: Tenant, paused: Json) -> None:
    """Reconcile until the catalog has a copy of the pause; the server's list lags a moment."""
    home = str(stack.servers.home.path)
    database = Database(tenant.database_url, pool_size=1)

    async def ask() -> bool:
        ended = await asyncio.to_thread(run_matview, "reconcile", "--home", home)
        assert ended.returncode == 0, ended.stderr
        async with database.begin() as tx:
            return await copied_pause(tx, UUID(paused["id"])) == PAUSED

    try:
        await until(ask, "a copy of the pause")
    finally:
        await database.close()


def copy(data: Path, backup: Path) -> None:
    """Add the files that the copy lacks, as `rsync --archive` does."""
    shutil.copytree(data / "snapshots", backup / "snapshots", dirs_exist_ok=True)


async def call(program: str, *arguments: str | Path) -> None:
    command = [str(binary(program)), *map(str, arguments)]
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr


@asynccontextmanager
async def restored(home: Path, backup: Path, sources: Path) -> AsyncIterator[DevStack]:
    """The same installation in another folder, from the backup alone."""
    home.mkdir(mode=0o700)
    shutil.copy2(backup / "credentials.password", home)
    async with Servers(home) as servers:
        await call("pg_restore", "--no-owner", "--exit-on-error", "--dbname", servers.database_url, backup / "dump")
        shutil.copytree(backup / "snapshots", servers.home.data / "snapshots")
    async with dev_stack(home, sources) as stack:
        yield stack


@asynccontextmanager
async def moved(stack: DevStack, tenant: Tenant) -> AsyncIterator[Tenant]:
    """The tenant in the restored installation, with the same project and the same key."""
    base_url = f"{stack.info['api_url']}/api/projects/{tenant.project_id}"
    headers = {"Authorization": f"Bearer {tenant.token}"}
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=PATIENCE) as http:
        info = stack.info
        yield Tenant(
            tenant.project_id,
            tenant.token,
            http,
            info["database_url"],
            Path(info["data_dir"]),
            info["temporal_address"],
        )


@pytest.mark.timeout(300)
async def test_from_a_dump_and_a_copy_of_the_store_everything_lives_on_with_an_empty_temporal(
    session_folder: Path, sources: Path
) -> None:
    backup = session_folder / "backup"
    async with dev_stack(session_folder / "lost", sources) as stack, a_tenant(stack) as tenant:
        before = await lived_in(stack, tenant, sources, backup)
        shutil.copy2(session_folder / "lost" / "credentials.password", backup)
    shutil.rmtree(session_folder / "lost")

    async with restored(session_folder / "found", backup, sources) as stack, moved(stack, tenant) as now:
        await schedules_are_back(stack, before)
        await what_was_known_is_known(now, before)
        await what_ran_is_over(now, before)
        await nothing_is_wrong(stack)
        assert (now.data_dir / "snapshots" / before.later).exists(), "files that no catalog knows are left alone"
        await work_goes_on(now, before)


async def schedules_are_back(stack: DevStack, before: Before) -> None:
    """Each materialized view has its schedule, and the one that an operator had paused is paused."""
    temporal = await temporal_of(stack)
    wanted = {view["id"]: timedelta(days=1) for view in (before.daily, before.unended)}
    wanted[before.hourly["id"]] = timedelta(hours=1)
    for view_id, interval in wanted.items():
        found = await until(lambda view_id=view_id: schedule_of(temporal, view_id), "the schedule")  # type: ignore[misc]
        assert found.schedule.spec.intervals[0].every == interval
        paused = view_id == before.hourly["id"]
        assert (found.schedule.state.paused, found.schedule.state.note == PAUSED) == (paused, paused)
    by_cron = await schedule_of(temporal, before.reader["id"])
    assert by_cron is not None
    spec = by_cron.schedule.spec
    assert (len(spec.intervals), len(spec.calendars), spec.time_zone_name) == (0, 2, ZONE)
    assert await schedule_of(temporal, before.plain["id"]) is None


async def what_was_known_is_known(now: Tenant, before: Before) -> None:
    """Views, runs, versions, pins and the activity log are as they were, and each file matches its digest."""
    assert await now.history(before.daily["id"]) == before.history
    assert await versions(now, before.daily) == before.versions
    assert await journal(now, before.daily) == before.journal
    assert [version["pinned"] for version in before.versions] == [False, True]
    for version in before.versions:
        for file in version["files"]:
            content = (now.data_dir / "snapshots" / version["location"] / file["name"]).read_bytes()
            assert file["digest"] == f"xxh128:{xxhash.xxh3_128_hexdigest(content)}"
    assert await now.rows(before.daily) == [{"n": n, "version": 2} for n in (1, 2, 3)]
    assert await now.rows(before.reader) == [{"version": 2}]
    reader = await now.view(before.reader["id"])
    assert (reader["cron"], reader["time_zone"], reader["next_run_at"] is None) == (CRON, ZONE, False)
    assert not (await now.view(before.plain["id"]))["is_materialized"]


async def what_ran_is_over(now: Tenant, before: Before) -> None:
    """A run that was in progress is recorded as lost, and does not block the next."""
    run = await now.ended(before.unended["id"])
    assert run["status"] == "Failed"
    assert "lost" in run["error"]
    await rerun(now, before.unended, "SELECT 1 AS n", 2)


async def nothing_is_wrong(stack: DevStack) -> None:
    names = ("database_url", "data_dir", "temporal_address", "temporal_namespace")
    where = {name: str(stack.info[name]) for name in names}  # type: ignore[literal-required]
    report = await run_doctor(load_settings(**where), "the drill")
    assert [line for line in report.lines if line.verdict is Status.FAIL] == []
    (agreement,) = [line.message for line in report.lines if line.check == "agreement"]
    assert "1 unknown files" in agreement


async def work_goes_on(now: Tenant, before: Before) -> None:
    """Views run, also those that read others, and a view can be rolled back to an earlier version."""
    await rerun(now, before.daily, "SELECT n, 4 AS version FROM numbers", 3)
    await now.act(before.reader["id"], "run")
    await now.ended(before.reader["id"], 2)
    assert await now.rows(before.reader) == [{"version": 4}]
    pinned = next(version for version in before.versions if version["pinned"])
    await now.act(before.daily["id"], "rollback", {"snapshot_id": pinned["id"]})
    assert await now.rows(before.daily) == [{"n": n, "version": 1} for n in (1, 2, 3)]
