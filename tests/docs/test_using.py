"""The commands of the guide for users, run exactly as they are written."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from orchestrator.devstack.stack import DevStack
from tests.docs.pages import ROOT
from tests.support.tenants import Tenant

GUIDE = (ROOT / "docs" / "using.md").read_text()


def blocks(title: str) -> str:
    """The commands of a section, in their order."""
    section = GUIDE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    found = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    assert found
    return "\n".join(found)


async def typed(commands: str, folder: Path, environment: dict[str, str]) -> str:
    """The output of the commands. Asserts that none of them fails."""
    ended = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


async def test_the_commands_of_the_guide_do_what_it_says(stack: DevStack, tenant: Tenant, sources: Path) -> None:
    folder = sources / "using"
    folder.mkdir()
    environment = {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "MATVIEW_API_URL": stack.info["api_url"],
        "MATVIEW_API_KEY": tenant.token,
        "MATVIEW_PROJECT_ID": str(tenant.project_id),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }

    printed = await typed(blocks("A first round"), folder, environment)
    assert "Completed: 3 completed" in printed
    assert "countries: 2 rows" in printed
    assert re.findall(r"^6 views: 2 not materialized, 4 fresh$", printed, flags=re.MULTILINE)

    shown = await typed(blocks("Source tables"), folder, environment)
    assert re.findall(r"^on bad row +(\w+)$", shown, flags=re.MULTILINE) == ["quarantine"]
    assert re.findall(r"^(id|amount) +(\S+) +stated$", shown, flags=re.MULTILINE)

    printed = await typed(blocks("Writing a view"), folder, environment)
    assert "saved orders_by_day" in printed

    printed = await typed(blocks("Schedules"), folder, environment)
    assert "orders_by_day: refreshed at 0 6 * * 1-5 (Europe/Berlin)" in printed
    shown = await typed("matview view show orders_by_day", folder, environment)
    assert re.search(r"^every +0 6 \* \* 1-5 \(Europe/Berlin\)$", shown, flags=re.MULTILINE)

    printed = await typed(blocks("Runs"), folder, environment)
    assert re.findall(r" (Completed) +(\w+) ", printed) == [("Completed", "api")] * 2

    listed = await typed("matview view versions orders_by_day", folder, environment)
    earlier = listed.splitlines()[2].split()[5]
    printed = await typed(blocks("Versions and rollback").replace("<id>", earlier), folder, environment)
    assert "and the schedule is paused" in printed
    assert "is kept regardless of its age" in printed

    printed = await typed(blocks("Rows and queries"), folder, environment)
    assert re.findall(r"^\((\d) rows?; version .*, as of .*\)$", printed, flags=re.MULTILINE) == ["4"]
    assert "day,revenue\n2026-01-03,30.50\n" in printed
    assert re.search(r"^\(2 rows\)$", printed, flags=re.MULTILINE)
    assert "created large_orders" in printed
    assert re.findall(r"^large_orders +view$", printed, flags=re.MULTILINE)
    assert {file.name for file in folder.iterdir()} >= {"best_customers.parquet", "all.ndjson"}
