"""What a hostile or careless project can do: nothing to others, and nothing that is not its own."""

from pathlib import Path

import pytest

from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from tests.support import a_tenant

TABLES = "/warehouse_tables/"


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
