"""The wheel, installed with only what it requires, and the types that it brings."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from orchestrator.devstack.stack import DevStack
from tests.python_client.support import aside, ran, variables
from tests.support.tenants import Tenant

SCRIPT = """
import sys
import matview

with matview.connect() as mv:
    view = mv.view("ns.numbers")
    print(view.to_arrow(columns=["id"], limit=3).to_pydict(), view.row_count)
    print(sum(batch.num_rows for batch in view.batches()), view.refresh(timeout=60, force=True).status)
    few = mv.query("SELECT sum(id)::BIGINT AS s FROM ns.numbers WHERE id < $most", values={"most": 10})
    print(few.to_arrow().to_pylist())
    for call in (view.to_pandas, view.to_polars, mv.query("SELECT 1").to_pandas):
        try:
            call()
        except matview.NotInstalled as error:
            print(error)
for name in ("orchestrator.model.run", "api.errors"):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        print(name, "needs", error.name)
"""

TYPED = """
import matview
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID


def newest(views: list[matview.View]) -> tuple[str, UUID, int | None, datetime | None]:
    view = max(views, key=lambda one: one.row_count or 0)
    return view.name, view.id, view.row_count, view.data_as_of


with matview.connect("http://127.0.0.1:8000", "mv_key", project=1) as mv:
    view = mv.view("orders_daily")
    table = view.to_arrow(columns=["day"], limit=10, snapshot_id=None)
    frame = mv.query("SELECT $n AS n", values={"n": 1}).to_pandas()
    batches = view.batches()
    for batch in batches:
        print(batch.num_rows)
    batches.close()
    names: list[str] = [column.name + column.type for column in view.columns]
    try:
        run: matview.Run = view.refresh(wait=True, timeout=60)
        seconds: float = ((run.finished_at or run.started_at) - run.started_at).total_seconds()
    except matview.RunFailed as error:
        print(error.run.error, error.code, error.detail)
    print(newest(mv.views(search="orders")))
"""

WRONG = """
import matview

mv = matview.connect(project="one")
view = mv.view(7)
view.refresh(wait="no")
length: int = view.name
view.runs()[0].status = "Completed"
mv.querry("SELECT 1")
"""


async def test_the_wheel_reads_with_nothing_but_what_it_requires(
    stack: DevStack, tenant: Tenant, bare: Path, tmp_path: Path
) -> None:
    await tenant.materialized("ns.numbers", "SELECT i AS id FROM range(2500) t(i) ORDER BY i")
    lines = (await ran(bare / "python", SCRIPT, variables(stack, tenant), tmp_path)).splitlines()
    assert lines[:3] == ["{'id': [0, 1, 2]} 2500", "2500 Completed", "[{'s': 45}]"]
    assert lines[3] == lines[5] == "to_pandas() needs pandas, which is not installed: pip install pandas"
    assert lines[4] == "to_polars() needs polars, which is not installed: pip install polars"
    assert lines[6:] == ["orchestrator.model.run needs pydantic", "api.errors needs fastapi"]


def test_the_wheel_requires_two_packages_and_has_the_server_as_an_extra(bare: Path) -> None:
    (packages,) = bare.parent.glob("lib/python*/site-packages")
    (installed,) = metadata.distributions(name="matview", path=[str(packages)])
    required = [Requirement(one) for one in installed.requires or []]
    assert {one.name for one in required if one.marker is None} == {"httpx", "pyarrow"}
    extras = set(installed.metadata.get_all("Provides-Extra") or [])
    assert extras == {"server", "embedded", "objects", "spark", "sail", "traces", "demo", "databases"}
    server = {one.name for one in required if one.marker and one.marker.evaluate({"extra": "server"})}
    assert {"fastapi", "duckdb", "temporalio", "httpx", "pyarrow"} <= server
    assert (packages / "matview" / "py.typed").is_file()


@pytest.mark.parametrize("arguments", [["--help"], ["worker"], []])
def test_the_command_says_in_a_line_that_it_needs_the_server(bare: Path, tmp_path: Path, arguments: list[str]) -> None:
    ended = subprocess.run([bare / "matview", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith("pip install 'matview[server]'")


async def checked(script: str, bare: Path, folder: Path) -> list[str]:
    """The errors that mypy has in a script whose environment is the bare one."""
    (folder / "script.py").write_text(script)
    ended = await aside(
        subprocess.run,
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--python-executable={bare / 'python'}"),
            *(f"--cache-dir={folder / 'cache'}", "--no-error-summary", "script.py"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == ""
    return [line for line in ended.stdout.splitlines() if ": error: " in line]


async def test_a_users_script_is_checked_by_mypy(bare: Path, tmp_path: Path) -> None:
    assert await checked(TYPED, bare, tmp_path) == []
    wrong = await checked(WRONG, bare, tmp_path)
    assert [line.split(":")[1] for line in wrong] == ["4", "5", "6", "7", "8", "9"]
