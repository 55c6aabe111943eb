"""A hostile or careless project can do nothing to others, and reach nothing that is not its own."""

import asyncio
import re
from pathlib import Path

import pytest

from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from tests.support.commands import run_matview
from tests.support.tenants import Tenant, a_tenant

TABLES, VIEWS = "/warehouse_tables/", "/warehouse_saved_queries/"


@pytest.mark.parametrize("format_", ["CSV", "CSVWithNames", "JSONEachRow", "Parquet"])
async def test_no_file_of_the_stacks_own_can_become_a_source_table(stack: DevStack, format_: str) -> None:
    home = Path(stack.info["data_dir"]).parent
    async with a_tenant(stack, Scope.TABLE_READ, Scope.TABLE_WRITE) as tenant:
        for path in ("dev.json", "postgres.password", "credentials.password", "logs/api.log", "postgres/PG_VERSION",
                     "data/*/*/*/*/*", "data/*", "*", "logs/*"):  # fmt: skip
            body = {"name": "t", "format": format_, "url_pattern": f"{home}/{path}"}
            refused = await tenant.error("POST", TABLES, body, status=400)
            assert refused["attr"] == "url_pattern", path
            assert stack.info["api_key"] not in str(refused)
        assert (await tenant.call("GET", TABLES))["count"] == 0


FORGED = "2026-01-01 00:00:00,000 CRITICAL orchestrator: the disk is gone"


async def test_no_error_of_a_query_forges_a_line_of_a_log_or_reaches_a_terminal(
    stack: DevStack, tenant: Tenant
) -> None:
    text = f"chr(10) || '{FORGED}' || chr(13) || '{FORGED}' || chr(27) || '[2J' || chr(155) || chr(8238)"
    view = await tenant.materialized("v", f"SELECT error({text}) AS n")
    assert "the disk is gone" in view["latest_error"]
    await tenant.error("POST", VIEWS, {"name": "w", "query": {"query": f"SELECT '\x1b[2J\n{FORGED}"}}, status=400)
    await tenant.http.get(f"{VIEWS}%0A{FORGED}%1B[2J/")
    environment = {
        "MATVIEW_API_URL": stack.info["api_url"],
        "MATVIEW_API_KEY": tenant.token,
        "MATVIEW_PROJECT_ID": str(tenant.project_id),
    }
    written = []
    for arguments in (["list"], ["show", "v"], ["history", "v"], ["run", "v", "--wait"], ["history", "v", "--json"]):
        ended = await asyncio.to_thread(run_matview, "view", *arguments, env=environment)
        written.append(ended.stdout + ended.stderr)
    assert ["the disk is gone" in text for text in written] == [False, True, False, True, True], (
        "tables show first lines"
    )
    logs = [path.read_text() for path in (Path(stack.info["data_dir"]).parent / "logs").glob("[aw]*.log")]
    assert any("the disk is gone" in log for log in logs)
    for shown in (*written, *logs):
        assert not [line for line in shown.split("\n") if line.startswith(FORGED[:40])]
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
