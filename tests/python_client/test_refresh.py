"""Runs through the Python client: starting one, waiting for it, and how it ends."""

import asyncio
from pathlib import Path

import pytest

import matview
from tests.python_client.support import aside
from tests.support.tenants import ENDLESS, Tenant


async def test_a_refresh_returns_its_run_and_brings_new_rows(
    tenant: Tenant, mv: matview.Connection, sources: Path
) -> None:
    file = sources / "refresh.csv"
    file.write_text("n\n1\n")
    await tenant.add_table("t", file, "CSVWithNames")
    await tenant.materialized("v", "SELECT n FROM t")
    view = await aside(mv.view, "v")
    before = await aside(lambda: view.data_as_of)
    file.write_text("n\n1\n2\n")
    run = await aside(view.refresh, timeout=60)
    assert (run.status, run.trigger, run.rows, run.error, run.has_ended) == ("Completed", "api", 2, None, True)
    assert run.finished_at is not None
    assert run.finished_at > run.started_at
    assert await aside(lambda: view.row_count) == 2
    after = await aside(lambda: view.data_as_of)
    assert before is not None
    assert after is not None
    assert after > before
    newest, first = await aside(view.runs)
    assert newest == run
    assert (first.trigger, first.rows) == ("first", 1)
    assert await aside(view.runs, limit=1) == [run]


async def test_a_refresh_that_fails_raises_with_the_error_of_the_run(tenant: Tenant, mv: matview.Connection) -> None:
    await tenant.materialized("v", "SELECT error('the sum is wrong') AS n")
    view = await aside(mv.view, "v")
    with pytest.raises(matview.RunFailed, match="the sum is wrong") as failed:
        await aside(view.refresh)
    assert isinstance(failed.value, matview.QueryError)
    assert (failed.value.code, failed.value.run.status) == ("run_failed", "Failed")
    assert failed.value.detail == failed.value.run.error
    assert view.status == "Failed"
    assert (await aside(view.runs))[0] == failed.value.run


async def test_a_refresh_that_is_not_waited_for_is_joined_by_the_next(tenant: Tenant, mv: matview.Connection) -> None:
    made = await tenant.create_view("v", ENDLESS)
    await tenant.act(made["id"], "materialize")
    view = await aside(mv.view, "v")
    run = await aside(view.refresh, wait=False)
    assert (run.status, run.trigger, run.has_ended, view.status) == ("Running", "first", False, "Running")
    assert (await aside(view.refresh, wait=False)).id == run.id
    with pytest.raises(matview.TimedOut, match="goes on") as late:
        await aside(view.refresh, timeout=0.5)
    assert isinstance(late.value, TimeoutError)

    waiting = asyncio.create_task(aside(view.refresh))
    await tenant.running(made["id"])
    await tenant.act(made["id"], "cancel")
    with pytest.raises(matview.RunFailed) as ended:
        await waiting
    assert (ended.value.code, ended.value.run.id) == ("run_cancelled", run.id)


async def test_a_view_that_is_not_materialized_is_not_refreshed(tenant: Tenant, mv: matview.Connection) -> None:
    await tenant.create_view("plain", "SELECT 1 AS one")
    view = await aside(mv.view, "plain")
    with pytest.raises(matview.MatviewError, match="Materialize it first") as refused:
        await aside(view.refresh)
    assert refused.value.code == "not_materialized"
    assert await aside(view.runs) == []
    assert view.status is None
