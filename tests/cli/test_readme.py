"""The commands of the README, run exactly as they are written."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

from orchestrator.devstack.stack import DevStack
from tests.support.tenants import Tenant

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(title: str) -> str:
    """The commands of a section, in their order."""
    section = README.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL))


def typed(commands: str, folder: Path) -> str:
    """The output of the commands. Asserts that none of them fails."""
    shell = ["bash", "-euo", "pipefail", "-c", commands]
    ended = subprocess.run(shell, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


async def test_the_readmes_first_rows_a_view_of_your_own_and_its_versions_are_as_it_says(
    stack: DevStack, tenant: Tenant, sources: Path
) -> None:
    folder = sources / "readme"
    # The stack as the commands find it, with a project in which no other test has left the example.
    home = folder / ".matview"
    home.mkdir(parents=True)
    mine = {"api_key": tenant.token, "project_id": str(tenant.project_id)}
    (home / "dev.json").write_text(json.dumps({**stack.info, **mine}))
    (folder / ".venv").symlink_to(sys.prefix)

    _, _, *first = blocks("First rows in two minutes").splitlines()
    printed = await asyncio.to_thread(typed, "PATH=.venv/bin:$PATH\n" + "\n".join(first), folder)
    assert "applied: 8 created" in printed
    assert "Completed: 3 completed" in printed
    printed = await asyncio.to_thread(typed, blocks("A view of your own"), folder)
    assert "orders_by_month: 2 rows" in printed
    assert '"name":"large_orders"' in printed
    assert '"count":8' in printed

    listed = await asyncio.to_thread(typed, ".venv/bin/matview view versions orders_by_month", folder)
    commands = blocks("Versions").replace("<id>", listed.splitlines()[1].split()[5])
    printed = await asyncio.to_thread(typed, commands, folder)
    assert "the schedule is paused" in printed
    assert "is kept regardless of its age" in printed
