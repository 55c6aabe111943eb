"""`matview doctor` reports each fault with advice, and no fault hides another."""

import asyncio
import json
import subprocess
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from alembic import command
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client

from orchestrator.catalog.migrate import alembic_config, migrate
from orchestrator.devstack.stack import DevStack
from orchestrator.doctor.report import (
    Check,
    CheckResult,
    Report,
    ReportLine,
    Status,
    ok,
    run_checks,
    run_in_daemon_thread,
)
from orchestrator.doctor.run import run_doctor
from orchestrator.settings import load_settings
from orchestrator.temporal import contract
from tests.cli.conftest import Matview
from tests.support.commands import run_matview
from tests.support.tenants import a_tenant, dev_stack, until, write_parquet

# The results of these depend on the machine that the tests run on.
OF_THE_MACHINE = {"memory", "isolation", "space"}
WHERE = ("database_url", "data_dir", "temporal_address", "temporal_namespace")


@pytest.fixture(scope="module")
async def own(session_folder: Path) -> AsyncIterator[DevStack]:
    """A stack whose parts may be stopped, and whose source tables are of these tests only."""
    (session_folder / "looked at").mkdir()
    async with dev_stack(session_folder / "doctor", session_folder / "looked at") as running:
        yield running


async def look(stack: DevStack, **given: str) -> dict[str, ReportLine]:
    """The lines of the report on a stack, by check; `given` replaces some of its settings."""
    where = {name: str(stack.info[name]) for name in WHERE}  # type: ignore[literal-required]
    report = await run_doctor(load_settings(**{**where, **given}), "a test")
    return {line.check: line for line in report.lines}


def not_well(found: dict[str, ReportLine]) -> set[str]:
    return {name for name, line in found.items() if line.verdict is not Status.OK} - OF_THE_MACHINE


def failed(found: dict[str, ReportLine]) -> set[str]:
    return {name for name, line in found.items() if line.verdict is Status.FAIL}


def doctor(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run_matview("doctor", *arguments, cwd=folder, env=variables)


async def test_where_all_is_well_it_says_so(own: DevStack) -> None:
    found = await look(own)
    assert not_well(found) == set(), found
    assert "Temporal 1." in found["temporal"].message
    assert found["workers"].message.startswith("1 (")
    assert all(line.advice is None for name, line in found.items() if name not in OF_THE_MACHINE)


async def test_in_the_folder_of_a_stack_nothing_needs_to_be_set(
    own: DevStack, session_folder: Path, empty_folder: Path
) -> None:
    (empty_folder / ".matview").symlink_to(session_folder / "doctor")
    message = await asyncio.to_thread(doctor, empty_folder)
    assert message.returncode == 0, message.stdout + message.stderr
    lines = message.stdout.splitlines()
    assert lines[0] == "ok    settings           from .matview/dev.json"
    assert any(own.info["temporal_address"] in line for line in lines)
    assert lines[-1].endswith("0 fail")


async def test_the_environment_comes_before_the_folder_and_another_folder_before_both(
    own: DevStack, session_folder: Path, empty_folder: Path
) -> None:
    (empty_folder / ".matview").symlink_to(session_folder / "doctor")
    elsewhere = {
        "MATVIEW_DATABASE_URL": "postgresql://nobody:hunter2@127.0.0.1:1/none",
        "MATVIEW_DATA_DIR": own.info["data_dir"],
        "MATVIEW_TEMPORAL_ADDRESS": own.info["temporal_address"],
    }
    message = await asyncio.to_thread(lambda: doctor(empty_folder, "--json", **elsewhere))
    assert message.returncode == 1
    lines = {line["check"]: line for line in json.loads(message.stdout)["lines"]}
    assert lines["settings"]["message"] == "from the environment"
    assert lines["database"]["verdict"] == "fail"
    assert lines["temporal"]["verdict"] == "ok"
    assert "hunter2" not in message.stdout + message.stderr
    home = str(session_folder / "doctor")
    message = await asyncio.to_thread(lambda: doctor(empty_folder, "--home", home, **elsewhere))
    assert message.returncode == 0, message.stdout + message.stderr


def test_a_setting_that_is_missing_is_named(matview: Matview, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MATVIEW_DATABASE_URL", raising=False)
    result = matview("doctor", env={})
    assert result.exit_code == 1
    assert "fail  settings  MATVIEW_DATABASE_URL: is missing" in result.stdout


def test_a_folder_that_is_none_of_a_stack_is_misuse(matview: Matview, empty_folder: Path) -> None:
    result = matview("doctor", "--home", str(empty_folder), env={})
    assert "no dev.json" in str(result.exception)


async def test_a_database_that_is_away_hides_nothing_else(own: DevStack) -> None:
    await own.stop("postgres")
    try:
        found = await look(own)
    finally:
        await own.start("postgres")
    assert failed(found) == {"database"}
    assert found["database"].advice
    needing = {"migrations", "clock", "results", "sources", "agreement"}
    assert not_well(found) == {"database"} | needing
    assert all(found[name].message == "not looked at: it needs database" for name in needing)


async def test_a_password_that_is_wrong_is_reported_as_that_and_not_shown(own: DevStack) -> None:
    right = own.info["database_url"]
    password = right.partition("matview:")[2].partition("@")[0]
    found = await look(own, database_url=right.replace(password, "hunter2"))
    assert "password authentication failed" in found["database"].message
    assert not any(secret in line.message for line in found.values() for secret in ("hunter2", password))


async def test_a_temporal_server_that_is_away_hides_nothing_else(own: DevStack) -> None:
    await own.stop("temporal")
    try:
        found = await look(own)
    finally:
        await own.start("temporal")
    assert failed(found) == {"temporal"}
    assert own.info["temporal_address"] in str(found["temporal"].advice)
    assert {found[name].verdict for name in ("database", "migrations", "store", "results")} == {Status.OK}


async def test_a_namespace_that_is_missing_comes_with_the_command_that_makes_it(own: DevStack) -> None:
    found = await look(own, temporal_namespace="nowhere")
    assert failed(found) == {"namespace"}
    assert "temporal operator namespace create -n nowhere --retention" in str(found["namespace"].advice)


async def test_a_namespace_that_forgets_soon_and_has_no_worker_is_reported(own: DevStack) -> None:
    temporal = await Client.connect(own.info["temporal_address"])
    kept = Duration()
    kept.FromTimedelta(timedelta(days=3))
    request = RegisterNamespaceRequest(namespace="short", workflow_execution_retention_period=kept)
    await temporal.workflow_service.register_namespace(request)

    async def known() -> dict[str, ReportLine] | None:
        found = await look(own, temporal_namespace="short")
        return found if found["namespace"].verdict is not Status.FAIL else None

    found = await until(known, "the namespace to be known")
    assert found["namespace"].verdict is Status.WARN
    assert "3 days" in found["namespace"].message
    assert "MatviewView" in found["search attributes"].message
    assert failed(found) == {"workers", "reconciler"}


async def test_migrations_that_are_behind_are_reported(own: DevStack) -> None:
    url = own.info["database_url"]
    name = f"test_{uuid4().hex}"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(f"CREATE DATABASE {name}")
    other = url.replace("@/matview?", f"@/{name}?")
    found = await look(own, database_url=other)
    assert "the schema is at none" in found["migrations"].message
    await asyncio.to_thread(migrate, other)
    await asyncio.to_thread(command.downgrade, alembic_config(other), "-1")
    found = await look(own, database_url=other)
    assert failed(found) == {"migrations"}
    assert found["migrations"].advice == "run `matview migrate`"


async def test_a_store_that_cannot_be_written_to_is_reported(own: DevStack, tmp_path: Path) -> None:
    occupied = tmp_path / "a file"
    occupied.write_text("")
    found = await look(own, data_dir=str(occupied))
    assert failed(found) == {"store", "temporary files"}
    assert found["database"].verdict is Status.OK


async def test_a_store_that_is_not_there_is_reported_and_not_made(own: DevStack, tmp_path: Path) -> None:
    found = await look(own, data_dir=str(tmp_path / "not mounted"))
    assert found["store"].verdict is Status.WARN
    assert not (tmp_path / "not mounted").exists()


async def test_a_look_at_the_store_leaves_no_file_in_it(own: DevStack) -> None:
    data = Path(own.info["data_dir"])
    before = {path for path in data.rglob("*") if path.is_file()}
    await look(own)
    assert {path for path in data.rglob("*") if path.is_file()} == before


async def test_without_a_worker_it_says_that_nobody_asks_for_tasks(own: DevStack) -> None:
    await own.stop("worker")
    try:
        found = await look(own)
    finally:
        await own.start("worker")
    assert failed(found) == {"workers"}
    assert "matview worker" in str(found["workers"].advice)


async def test_a_schedule_that_is_missing_is_counted_and_left_to_the_reconciler(own: DevStack) -> None:
    temporal = await Client.connect(own.info["temporal_address"])
    async with a_tenant(own) as tenant:
        view = await tenant.materialized("v", "SELECT 1 AS n")
        await temporal.get_schedule_handle(contract.schedule_id(UUID(view["id"]))).delete()
        found = await look(own)
        assert not_well(found) == {"agreement"}
        assert "1 schedule missing" in found["agreement"].message
        await tenant.act(view["id"], "revert_materialization")


async def test_a_result_whose_file_is_missing_or_cut_is_named(own: DevStack) -> None:
    async with a_tenant(own) as tenant:
        view = await tenant.materialized("sales", "SELECT 1 AS n")
        (file,) = tenant.files(view)
        content = file.read_bytes()
        file.write_bytes(content[:-1])
        assert "sales" in (await look(own))["results"].message
        file.unlink()
        found = await look(own)
        assert failed(found) == {"results"}
        assert "1 lack files: sales" in found["results"].message
        file.write_bytes(content)


async def test_a_reconciler_that_is_paused_or_gone_is_reported(own: DevStack) -> None:
    handle = (await Client.connect(own.info["temporal_address"])).get_schedule_handle(contract.RECONCILE_ID)
    await handle.pause(note="a backup is being made")
    found = await look(own)
    assert found["reconciler"].verdict is Status.WARN
    assert "a backup is being made" in found["reconciler"].message
    await handle.delete()
    assert failed(await look(own)) == {"reconciler"}
    await own.restart("worker")
    assert failed(await look(own)) == set()


async def test_a_check_that_hangs_or_raises_fails_alone() -> None:
    stuck = threading.Event()

    async def good() -> CheckResult:
        return ok("fine")

    async def bad() -> CheckResult:
        raise ZeroDivisionError("a mistake")

    async def dead_disk() -> CheckResult:
        return ok(str(await run_in_daemon_thread(stuck.wait)))

    checks = [
        Check("dead disk", dead_disk, "mount it"),
        Check("mistake", bad, "report it"),
        Check("other", good, ""),
        Check("minor", bad, "", severity_on_error=Status.WARN),
        Check("later", good, "", needs=("dead disk", "other")),
    ]
    report: Report = await run_checks(checks, seconds=0.2)
    stuck.set()
    message = [(line.verdict.value, line.message, line.advice) for line in report.lines]
    assert message == [
        ("fail", "no answer within 0.2 seconds", "mount it"),
        ("fail", "a mistake", "report it"),
        ("ok", "fine", None),
        ("warn", "a mistake", ""),
        ("warn", "not looked at: it needs dead disk", None),
    ]
    assert not report.healthy


async def sources_line(stack: DevStack, **given: str) -> ReportLine:
    return (await look(stack, **{"source_roots": stack.info["source_roots"], **given}))["sources"]


async def test_tables_without_files_and_views_that_fail_for_want_of_them_are_named(
    own: DevStack, session_folder: Path
) -> None:
    folder = session_folder / "looked at"
    async with a_tenant(own) as tenant:
        await tenant.add_table("kept", write_parquet(folder / "kept.parquet", n=[1]))
        path = write_parquet(folder / "months" / "1.parquet", n=[1])
        await tenant.add_table("months", f"{folder}/months/*.parquet")
        view = await tenant.materialized("by_month", "SELECT n FROM months")
        line = await sources_line(own)
        assert (line.verdict, line.message) == (Status.OK, "source tables: 2, and every one has files")
        path.unlink()
        line = await sources_line(own)
        assert (line.verdict, line.message) == (Status.WARN, "of 2 source tables, 1 have no files now: months")
        await tenant.act(view["id"], "run")
        await tenant.ended(view["id"], runs=2)
        line = await sources_line(own)
        assert line.message.endswith("1 view cannot run for want of files: by_month")
        assert line.advice is not None
        line = await sources_line(own, source_roots="[]")
        assert (line.verdict, line.message) == (Status.WARN, "1 view cannot run for want of files: by_month")
        write_parquet(path, n=[2])
        await tenant.act(view["id"], "run")
        await tenant.ended(view["id"], runs=3)
        assert (await sources_line(own)).verdict is Status.OK


async def test_in_the_folder_of_a_stack_the_folders_of_its_tables_are_known(
    own: DevStack, session_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / ".matview").symlink_to(session_folder / "doctor")
    found = await asyncio.to_thread(run_matview, "doctor", "--json", cwd=tmp_path, env={})
    lines = {line["check"]: line for line in json.loads(found.stdout)["lines"]}
    assert "were not looked at" not in lines["sources"]["message"]
    assert str(session_folder / "looked at") in own.info["source_roots"]
