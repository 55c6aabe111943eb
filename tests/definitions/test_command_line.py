"""A project in files, as its author works with it: the commands as processes, against a real stack."""

import asyncio
import re
from pathlib import Path

import pytest

from orchestrator.devstack.stack import DevStack
from tests.support.command_line import MATVIEW, Commands, out
from tests.support.tenants import Tenant, a_tenant
from tests.support.terminal import Terminal


async def test_the_example_is_planned_applied_read_and_applied_again(matview: Commands, folder: Path) -> None:
    assert re.search(r"\S*matview plan shop, then \S*matview apply shop$", out(await matview("init", "shop")).rstrip())
    planned = out(await matview("plan", "shop", "--exit-code", status=4))
    assert "+ view  best_customers  (3 columns)" in planned
    assert "to refresh: 3 views in 2 steps" in planned
    applied = out(await matview("apply", "shop", "--yes"))
    assert "applied: 8 created" in applied
    assert "Completed: 3 completed" in applied
    assert "Ada" in out(await matview("view", "rows", "best_customers"))
    assert "nothing changes; 8 views and tables are as the files say" in out(
        await matview("plan", "shop", "--exit-code")
    )
    again = "nothing changes; 8 views and tables are as the files say\n1 unit test: 1 passed, 0 failed\n"
    assert out(await matview("apply", "shop")) == again

    (folder / "shop" / "data" / "orders" / "2026-03.csv").write_text("id,customer,amount,day\n7,3,500,2026-03-01\n")
    await matview("refresh", "best_customers", "--upstream")
    assert "Edsger" in out(await matview("view", "rows", "best_customers", "--limit", "1"))


async def test_an_edit_that_breaks_a_reader_names_it_and_changes_nothing(matview: Commands, folder: Path) -> None:
    await matview("init")
    await matview("apply", "--yes", "--no-wait")
    file = folder / "views" / "orders_by_customer.sql"
    file.write_text(file.read_text().replace("AS revenue", "AS turnover"))
    refused = await matview("apply", "--yes", "--diff", status=1)
    shown = out(refused)
    assert "~ view  orders_by_customer  query; +turnover DECIMAL(38,2); -revenue" in shown
    assert "-SELECT customer, name, country, count(*) AS orders, sum(amount) AS revenue" in shown
    assert "! breaks best_customers, which reads orders_by_customer: Invalid query: Binder Error" in shown
    assert b"add --break-dependents" in refused.stderr
    reader = folder / "views" / "best_customers.sql"
    reader.write_text(reader.read_text().replace("revenue", "turnover"))
    assert "applied: 2 changed" in out(await matview("apply", "--yes"))


@pytest.mark.parametrize("command", [("view", "edit"), ("view", "create")])
async def test_an_edit_by_a_command_that_breaks_a_reader_names_the_option_that_makes_it(
    matview: Commands, command: tuple[str, ...]
) -> None:
    await matview("init")
    await matview("apply", "--yes", "--no-refresh")
    await matview("view", "show", "orders_by_customer")
    edit = (*command, "orders_by_customer", "SELECT customer FROM kept_orders")
    refused = (await matview(*edit, status=1)).stderr.decode()
    assert "best_customers (reads orders_by_customer): Invalid query: Binder Error" in refused
    assert "(--break-dependents) to make it all the same" in refused
    await matview(*edit, "--break-dependents")


async def test_what_is_wrong_in_a_file_is_said_with_its_name(matview: Commands, folder: Path) -> None:
    await matview("init")
    (folder / "views" / "wrong.sql").write_text("/*---\nfrequency: 1hour\n---*/\nSELECT\n  x FROM kept_orders\n")
    (folder / "views" / "typo.sql").write_text("SELECT id\nFROM kept_order\n")
    (folder / "views" / "below.sql").write_text("SELECT x FROM wrong\n")
    failed = await matview("apply", "--yes", status=1)
    assert "Invalid query: Binder Error" in out(failed)
    assert "views/wrong.sql:5:3" in out(failed)
    assert "views/typo.sql:2:6" in out(failed)
    assert 'Did you mean "kept_orders"' in out(failed)
    assert "view below:" not in out(failed)
    assert "nothing can be applied: 2 problems" in failed.stderr.decode()


async def test_without_a_terminal_nothing_is_applied_unless_yes_is_said(matview: Commands) -> None:
    await matview("init")
    refused = await matview("apply", status=2)
    assert "add --yes" in refused.stderr.decode()
    assert "+ view  best_customers" in out(await matview("plan"))


async def test_on_a_terminal_it_asks(matview: Commands) -> None:
    await matview("init")
    with Terminal([*MATVIEW, "apply", "--no-refresh"], env=matview.env, folder=matview.folder) as terminal:
        await asyncio.to_thread(terminal.shows, "Apply this (8 created)? [y/N]")
        terminal.types("n\r")
        await asyncio.to_thread(terminal.shows, "nothing was changed")
    with Terminal([*MATVIEW, "apply", "--no-refresh"], env=matview.env, folder=matview.folder) as terminal:
        await asyncio.to_thread(terminal.shows, "[y/N]")
        terminal.types("y\r")
        await asyncio.to_thread(terminal.shows, "applied: 8 created")


async def test_pruning_is_asked_for_by_its_option(matview: Commands, folder: Path) -> None:
    await matview("init")
    await matview("apply", "--yes", "--no-refresh")
    (folder / "views" / "best_customers.sql").unlink()
    assert "nothing changes" in out(await matview("plan"))
    assert "- view  best_customers" in out(await matview("plan", "--prune"))
    assert "applied: 1 deleted" in out(await matview("apply", "--prune", "--yes"))


async def test_an_export_applied_to_an_empty_project_exports_the_same_bytes(
    stack: DevStack, matview: Commands, folder: Path, tenant: Tenant
) -> None:
    await matview("init", "shop")
    await matview("apply", "shop", "--yes", "--no-refresh")
    odd = {"description": "a\n*/ b: 'c'\n", "query": {"query": 'SELECT 1 AS "x\ny" -- z\n\n'}, "name": "odd.$x"}
    await tenant.call("POST", "/warehouse_saved_queries/", odd, expect=201)
    await matview("export", "one")
    async with a_tenant(stack) as other:
        there = Commands(stack, other, folder)
        await there("apply", "one", "--yes", "--no-refresh")
        await there("export", "two")
    assert contents(folder / "one") == contents(folder / "two")
    assert len(contents(folder / "one")) == 7
    refused = await matview("export", "shop/data", status=2)
    assert b"neither empty nor a project" in refused.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
