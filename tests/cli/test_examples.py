"""The example of a newcomer's first minutes is one, and after it every example of `--help` can be typed."""

import asyncio
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.examples import EXAMPLES, FIRST
from orchestrator.cli.processes import first_example
from orchestrator.cli.program import program
from orchestrator.devstack.stack import DevStack
from tests.docs.pages import ROOT
from tests.support.command_line import Commands
from tests.support.commands import run_matview
from tests.support.tenants import Tenant

# Commands whose examples need more than the project of the first example: a terminal, a run in progress, files of
# another tool. Those of operators and of servers have tests of their own.
_NEEDS_MORE = re.compile("(dev|api|worker|migrate|reconcile|doctor|import-dbt|init|shell|project|key|view cancel)( |$)")
_NAMES_AN_ID = re.compile("[0-9a-f]{8}-")
_NEEDS_AN_EDITOR = "matview view edit countries"
_MAKE = ("apply", "table add", "view create", "view materialize", "check add")
_LAST = ("check delete", "view rename", "view revert", "view delete", "table delete")
_ASK = _LAST[2:]
# An exit status that is not 0: something would be pruned, no row was left out, and none failed a check.
_STATUS = {
    "matview check rows orders_by_day days": 1,
    "matview plan shop --prune --exit-code": 4,
    "matview view quarantine orders_by_day --table orders": 1,
}


def typed_lines(text: str) -> list[tuple[str, str]]:
    """The commands of a block with their comments, without the blanks between them."""
    lines = [line for line in text.splitlines() if line.strip()]
    return [(command.strip(), comment.strip()) for command, _, comment in (line.partition("#") for line in lines)]


def first_block(page: str, title: str, number: int = 0) -> list[tuple[str, str]]:
    section = (ROOT / page).read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    return typed_lines(re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)[number])


def test_the_first_example_is_the_same_in_the_readme_the_guide_the_help_and_the_banner(stack: DevStack) -> None:
    assert first_block("README.md", "First rows in two minutes", 1) == [*FIRST]
    assert first_block("docs/using.md", "A first round") == [*FIRST]
    home = stack.servers.home.path
    *_, banner = first_example(stack.info, home).partition("export ")
    assert typed_lines(banner.partition("\n")[2]) == [
        (line.replace("matview", program()), what) for line, what in FIRST
    ]
    shown = run_matview("--help").stdout
    assert shown.rstrip().endswith("\n".join(f"    {line}" for line, _ in FIRST))


async def test_the_banner_of_a_stack_in_another_folder_names_it_to_the_commands(
    stack: DevStack, tenant: Tenant, sources: Path
) -> None:
    folder = sources / "banner"
    folder.mkdir()
    info = stack.info.copy()
    info["api_key"], info["project_id"] = tenant.token, str(tenant.project_id)
    lines = first_example(info, stack.servers.home.path)
    typed = re.sub(r"^  \S*matview ", f"  {sys.executable} -m orchestrator ", lines, flags=re.MULTILINE)
    command = ["bash", "-euo", "pipefail", "-c", typed]
    ended = await asyncio.to_thread(
        subprocess.run, command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Ada" in ended.stdout


@pytest.fixture
def matview(stack: DevStack, tenant: Tenant, folder: Path) -> Commands:
    """The command line of a stack: in this package, the name is usually that of one without."""
    return Commands(stack, tenant, folder)


def examples() -> list[tuple[str, str]]:
    """The examples that can be typed after the first one, each with the words of its command.

    First come those that make something which others use, and last those that take it away.
    """
    # By the line, since the example of a group of commands is that of one of them.
    found = {
        line: words
        for words, lines in EXAMPLES.items()
        for line in lines
        if words and not _NEEDS_MORE.match(words) and not _NAMES_AN_ID.search(line) and line != _NEEDS_AN_EDITOR
    }
    return sorted(
        found.items(), key=lambda one: (_LAST.index(one[1]) + 1 if one[1] in _LAST else 0, one[1] not in _MAKE)
    )


async def test_every_example_can_be_typed_after_the_first_one(stack: DevStack, matview: Commands) -> None:
    env = {name: value for name, value in matview.env.items() if name.startswith("MATVIEW_")}
    env["MATVIEW_DATA_DIR"] = stack.info["data_dir"]

    async def typed(line: str, *more: str, status: int = 0) -> None:
        arguments = [*shlex.split(line)[1:], *more]
        ended = await asyncio.to_thread(run_matview, *arguments, cwd=matview.folder, env=env)
        assert ended.returncode == status, f"{line}: {ended.stdout}{ended.stderr}"

    (matview.folder / "countries.sql").write_text("SELECT country, count(*) AS n FROM customers GROUP BY country")
    by_day = "SELECT day, count(*) AS orders, sum(amount) AS revenue FROM kept_orders GROUP BY day"
    (matview.folder / "orders_by_day.sql").write_text(by_day)
    for line, _ in FIRST:
        await typed(line)
    await typed("matview view run orders_by_day --force --wait")  # a diff is of two versions
    lines = examples()
    assert len(lines) > 40
    for line, words in lines:
        await typed(line, *(["--yes"] if words in _ASK else []), status=_STATUS.get(line, 0))


async def test_the_commands_in_the_readme_of_the_example_can_be_typed(matview: Commands) -> None:
    await matview("init")
    lines = re.findall(r"^    (matview .+)$", (matview.folder / "README.md").read_text(), flags=re.MULTILINE)
    assert len(lines) > 3
    for line in lines:
        arguments = shlex.split(line, comments=True)[1:]
        await matview(*arguments, *(["--yes"] if arguments == ["apply"] else []))


async def test_after_the_first_example_operators_commands_and_those_below_its_folder_need_no_setting(
    stack: DevStack, session_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / ".matview").symlink_to(session_folder / "home")
    below = tmp_path / "deep" / "down"
    below.mkdir(parents=True)
    for folder in (tmp_path, below):
        for command in (
            ["key", "create", "--email", "ada@example.com", "--scope", "warehouse_view:read"],
            ["key", "list"],
            ["project", "create", "sales"],
            ["project", "list"],
            ["reconcile", "--dry-run"],
            ["view", "list"],
            ["table", "list"],
            ["status"],
        ):
            ended = await asyncio.to_thread(run_matview, *command, cwd=folder)
            assert ended.returncode == 0, (command, ended.stderr)
    listed = await asyncio.to_thread(run_matview, "status", "--json", cwd=below)
    assert str(json.loads(listed.stdout)["project"]["id"]) == stack.info["project_id"]
