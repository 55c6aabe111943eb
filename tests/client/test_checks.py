"""The tools with which PostHog's own client checks views.

It has them, and hides them behind a feature flag that its command line does not ask for. So a copy of it runs here,
whose gate for flags is open. All else is as published: the requests are its own.
"""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.client.support import SCRIPT, Client
from tests.support.tenants import Tenant, write_parquet

GATE = "function toolPassesFlagGate(definition, featureFlags = {}) {"


@pytest.fixture
async def checker(client: Client, tmp_path: Path) -> Client:
    """The client, with the tools that a flag hides."""
    return await asyncio.to_thread(without_gate, client, tmp_path)


def without_gate(client: Client, folder: Path) -> Client:
    text = (client.folder / SCRIPT).read_text()
    assert text.count(GATE) == 1
    copy = folder / SCRIPT
    copy.parent.mkdir(parents=True)
    copy.write_text(text.replace(GATE, f"{GATE} return true;"))
    return replace(client, folder=folder)


async def test_a_source_table_is_checked_with_the_client(checker: Client, tenant: Tenant, sources: Path) -> None:
    table = await tenant.add_table("t", write_parquet(sources / f"checked-{tenant.project_id}.parquet", id=[1, 1]))
    made = await checker.call(
        "data-quality-check-create-on-table", table_id=table["id"], check_type="unique", column_name="id"
    )
    run = await checker.call("data-quality-check-run-on-table", table_id=table["id"], id=made["id"])
    assert (run["status"], run["failing_rows"]) == ("failed", 1)
    results = await checker.call("data-quality-check-results-on-table", table_id=table["id"], id=made["id"])
    assert json.dumps(results).count(run["id"]) == 1
    changed = await checker.call(
        "data-quality-check-update-on-table", table_id=table["id"], id=made["id"], severity="warn"
    )
    assert changed["severity"] == "warn"
    await checker.attempt("data-quality-check-delete-on-table", "--confirm", table_id=table["id"], id=made["id"])
    assert (await tenant.call("GET", f"/warehouse_tables/{table['id']}/checks/"))["count"] == 0


async def test_a_view_is_checked_with_the_client(checker: Client, tenant: Tenant) -> None:
    view = await tenant.materialized("orders", "SELECT * FROM (VALUES (1, 'a'), (1, NULL)) t(id, kind)")
    types = await checker.call("data-quality-check-types", saved_query_id=view["id"])
    assert "not_null" in json.dumps(types)
    made = await checker.call(
        "data-quality-check-create-on-view",
        saved_query_id=view["id"],
        check_type="not_null",
        column_name="kind",
        severity="warn",
        ai_model="a model",
        confidence=0.9,
        reasoning="orders have kinds",
    )
    assert (made["created_source"], made["ai_model"], made["severity"]) == ("ai_generated", "a model", "warn")
    run = await checker.call("data-quality-check-run-on-view", saved_query_id=view["id"], id=made["id"])
    assert (run["status"], run["failing_rows"]) == ("failed", 1)
    results = await checker.call("data-quality-check-results-on-view", saved_query_id=view["id"], id=made["id"])
    assert json.dumps(results).count(run["id"]) == 1
    changed = await checker.call(
        "data-quality-check-update-on-view", saved_query_id=view["id"], id=made["id"], enabled=False, name="kinds"
    )
    assert (changed["enabled"], changed["name"]) == (False, "kinds")
    refused = await checker.attempt(
        "data-quality-check-create-on-view", saved_query_id=view["id"], check_type="unique", column_name="no_such"
    )
    refused.refused("no_such")
    await checker.attempt("data-quality-check-delete-on-view", "--confirm", saved_query_id=view["id"], id=made["id"])
    listed = await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/checks/")
    assert listed["count"] == 0
