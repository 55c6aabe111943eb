"""`matview doctor` names source tables without files, and views that fail for want of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.devstack.stack import DevStack
from orchestrator.doctor.report import ReportLine, Status
from orchestrator.doctor.run import run_doctor
from orchestrator.settings import load_settings
from tests.support.commands import run_matview
from tests.support.tenants import a_tenant, dev_stack, write_parquet

WHERE = ("database_url", "data_dir", "temporal_address", "temporal_namespace", "source_roots")


@pytest.fixture(scope="module")
async def own(session_folder: Path) -> AsyncIterator[DevStack]:
    """A stack whose source tables are of these tests only."""
    (session_folder / "looked at").mkdir()
    async with dev_stack(session_folder / "looking", session_folder / "looked at") as running:
        yield running


async def sources_line(stack: DevStack, **given: str) -> ReportLine:
    where = {name: str(stack.info[name]) for name in WHERE}  # type: ignore[literal-required]
    report = await run_doctor(load_settings(**{**where, **given}), "a test")
    return next(line for line in report.lines if line.check == "sources")


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
        assert line.message.endswith("1 views fail for want of files: by_month")
        assert line.advice is not None
        line = await sources_line(own, source_roots="[]")
        assert (line.verdict, line.message) == (Status.WARN, "1 views fail for want of files: by_month")
        write_parquet(path, n=[2])
        await tenant.act(view["id"], "run")
        await tenant.ended(view["id"], runs=3)
        assert (await sources_line(own)).verdict is Status.OK


async def test_in_the_folder_of_a_stack_the_folders_of_its_tables_are_known(
    own: DevStack, session_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / ".matview").symlink_to(session_folder / "looking")
    found = await asyncio.to_thread(run_matview, "doctor", "--json", cwd=tmp_path, env={})
    lines = {line["check"]: line for line in json.loads(found.stdout)["lines"]}
    assert "were not looked at" not in lines["sources"]["message"]
    assert str(session_folder / "looked at") in own.info["source_roots"]
