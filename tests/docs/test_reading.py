"""Every snippet of the page on reading, run as it is written."""

import asyncio
import json
import os
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.devstack.stack import DevStack
from tests.docs.pages import ROOT
from tests.docs.test_using import blocks as using_blocks, typed
from tests.engines.duckdb.values import in_utc
from tests.reading.iceberg_clients import extension
from tests.reading.test_current import path_of
from tests.support.tenants import Tenant

PAGE = (ROOT / "docs" / "reading.md").read_text()


def snippets(language: str, *titles: str) -> list[str]:
    """The snippets in this language of these sections, or of the whole page, in their order."""
    text = PAGE
    if titles:
        text = "\n".join(PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0] for title in titles)
    found = re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)
    assert found
    return found


@pytest.fixture
async def environment(stack: DevStack, tenant: Tenant, sources: Path) -> dict[str, str]:
    """The variables that the page sets, after the first round of the guide, in a folder with a `dev.json`."""
    folder = sources / f"reading-{tenant.project_id}"  # the first round writes its files once
    (folder / ".matview").mkdir(parents=True)
    project = str(tenant.project_id)
    info = {"api_url": stack.info["api_url"], "api_key": tenant.token, "project_id": project}
    (folder / ".matview" / "dev.json").write_text(json.dumps(info))
    set_by_the_page = await typed(
        snippets("sh")[0] + "\nenv | grep ^MATVIEW_API\nenv | grep ^MATVIEW_PROJECT", folder, {}
    )
    assert f"MATVIEW_API_KEY={tenant.token}" in set_by_the_page
    values = {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "MATVIEW_API_URL": stack.info["api_url"],
        "MATVIEW_API_KEY": tenant.token,
        "MATVIEW_PROJECT_ID": project,
        "MATVIEW_DATA_DIR": stack.info["data_dir"],
        "ORDERS_BY_DAY": str(path_of(tenant, "orders_by_day")),
        "FOLDER": str(folder),
    }
    await typed(using_blocks("A first round"), folder, values)
    return values


async def test_the_commands_of_the_page_show_the_rows(environment: dict[str, str]) -> None:
    folder = Path(environment["FOLDER"])
    shown = await typed("\n".join(snippets("sh", "On the command line", "By a path on the disk")), folder, environment)
    assert "2026-01-03" in shown
    assert "data_0.parquet" in shown
    assert (folder / "orders.csv").read_text().startswith("day,orders,revenue\n")

    shown = await typed("\n".join(snippets("sh", "Over HTTP", "SQL over HTTP")), folder, environment)
    assert (folder / "days.csv").read_text().splitlines()[0] == "day"
    assert "\n304\n" in shown
    assert '"hasMore":false' in shown
    assert "day,orders,revenue\n" in shown


async def test_the_statements_for_duckdb_read_the_rows(environment: dict[str, str]) -> None:
    catalog, path = (string.Template(text).substitute(environment) for text in snippets("sql"))
    # The extensions come from packages: a test needs no network.
    loads = "\n".join(f"LOAD '{extension(name)}';" for name in ("httpfs", "avro", "iceberg"))
    with in_utc() as connection:
        found = connection.execute(catalog.replace("INSTALL iceberg;\nLOAD iceberg;", loads)).fetchall()
        assert len(found) == 4
        assert sorted(connection.execute(path).fetchall()) == sorted(found)


@pytest.mark.parametrize("language", ["python", "python iceberg"])
async def test_the_programs_in_python_run(environment: dict[str, str], language: str) -> None:
    for program in snippets(language):
        text = program.replace('"http://127.0.0.1:8000", "mv_…"', "")
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-W", "ignore", "-c", text],
            env=os.environ | environment,
            cwd=environment["FOLDER"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
