"""PostgreSQL and Temporal alone, as other tests use them."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from orchestrator.devstack import processes
from orchestrator.devstack.backing_servers import Servers
from orchestrator.devstack.home import Home, StackError
from orchestrator.devstack.postgres import Postgres
from tests.devstack.support import alive_below, ask, mode, until_made, until_nothing_is_alive_below


async def test_a_second_start_finds_the_data_of_the_first(home: Path) -> None:
    async with Servers(home) as servers:
        assert await _retention(servers) == timedelta(days=30)
        await ask(servers.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        password = (home / "postgres.password").read_text()
    assert alive_below(home) == {}

    async with Servers(home) as servers:
        assert await ask(servers.database_url, "SELECT answer FROM kept") == 42
        assert (home / "postgres.password").read_text() == password
        assert await _retention(servers) == timedelta(days=30)


@pytest.mark.usefixtures("quick_end")
async def test_everything_is_private_and_nothing_listens_beyond_the_loopback_interface(home: Path) -> None:
    async with Servers(home, ui_port=None) as servers:
        assert mode(home) == 0o700
        assert mode(home / "postgres.password") == 0o600
        assert await ask(servers.database_url, "SHOW listen_addresses") == ""
        assert await ask(servers.database_url, "SHOW fsync") == "on"
        with pytest.raises(Exception, match="password authentication failed"):
            await ask(servers.database_url.replace("matview:", "matview:wrong"), "SELECT 1")
        assert servers.temporal_ui_url == ""
        assert _listening_addresses(servers.temporal.pid or 0) == {"127.0.0.1"}


async def test_each_server_can_be_away_for_a_while_and_returns_to_the_same_place(
    begun_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = begun_home
    foreign = ("PORT", "DATA", "HOST", "HOSTADDR", "SERVICE", "OPTIONS", "TARGETSESSIONATTRS", "CHANNELBINDING")
    for name in (*(f"PG{name}" for name in foreign), "TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE"):
        monkeypatch.setenv(name, "5999")  # the developer's own settings have no effect
    async with Servers(home) as servers:
        before = (servers.database_url, servers.temporal_address, servers.temporal_ui_url)
        await servers.stop_postgres()
        with pytest.raises(Exception, match="connection"):
            await ask(servers.database_url, "SELECT 1")
        await servers.start_postgres()
        assert await ask(servers.database_url, "SELECT 1") == 1

        await servers.stop_temporal()
        with pytest.raises(RuntimeError, match="onnect"):
            await Client.connect(servers.temporal_address)
        await servers.start_temporal()
        await Client.connect(servers.temporal_address)
        assert (servers.database_url, servers.temporal_address, servers.temporal_ui_url) == before


@pytest.mark.usefixtures("quick_end")
async def test_a_home_whose_path_is_too_long_for_a_socket_works_and_leaves_nothing_behind(home: Path) -> None:
    long_home = home / ("with a space, and long" * 5)
    async with Servers(long_home, ui_port=None) as servers:
        engine = create_async_engine(servers.database_url.replace("postgresql:", "postgresql+psycopg:"))
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT current_database()"))).scalar() == "matview"
        await engine.dispose()
        folder = Path((long_home / "run" / "postgres.socket").read_text())
        assert mode(folder) == 0o700
        assert str(folder) in servers.database_url
    with pytest.raises(FileNotFoundError):
        mode(folder)


@pytest.mark.usefixtures("quick_end")
async def test_a_cancelled_start_leaves_nothing_behind(home: Path) -> None:
    servers = Servers(home, ui_port=None)
    start = asyncio.create_task(servers.__aenter__())
    await until_made(home / "logs" / "initdb.log")
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await until_nothing_is_alive_below(home, seconds=1)
    async with servers:
        assert await ask(servers.database_url, "SELECT 1") == 1


async def test_a_server_that_is_not_ready_in_time_is_reported_with_the_last_hindrance(
    begun_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "READY_WITHIN", 2.0)
    (begun_home / "postgres" / "pg_hba.conf").write_text("local all all reject\n")
    home = Home(begun_home)
    home.claim()
    with pytest.raises(
        StackError, match=r"^postgres was not ready within 2 seconds \(.*pg_hba.conf rejects connection"
    ):
        await Postgres(home).start()
    home.release()
    assert alive_below(begun_home) == {}


@pytest.mark.usefixtures("quick_end")
async def test_a_server_that_does_not_start_is_reported_with_its_log(begun_home: Path) -> None:
    home = begun_home
    (home / "postgres" / "PG_VERSION").write_text("9.1\n")
    with pytest.raises(StackError, match=r"(?s)^postgres ended with status 1 while starting.*version 9\.1"):
        await Servers(home, ui_port=None).__aenter__()
    assert alive_below(home) == {}


async def _retention(servers: Servers) -> timedelta:
    client = await Client.connect(servers.temporal_address, namespace=servers.temporal_namespace)
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    return described.config.workflow_execution_retention_ttl.ToTimedelta()


def _listening_addresses(pid: int) -> set[str]:
    sockets = {entry.readlink().name for entry in Path(f"/proc/{pid}/fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add({"0100007F": "127.0.0.1"}.get(fields[1].split(":")[0], fields[1]))
    return found
