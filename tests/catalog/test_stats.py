"""The statistics of an installation, from a real catalog."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import pytest
from sqlalchemy import text

from orchestrator.catalog import publication, run_plans, stats
from orchestrator.catalog.database import Database, Transaction
from tests.support import publishing
from tests.support.tenants import ENDLESS, Tenant


class Undone(Exception):
    """Raised to roll a transaction back."""


@asynccontextmanager
async def catalog_of(tenant: Tenant) -> AsyncIterator[Transaction]:
    """A transaction that is rolled back, in which no other project has any views."""
    database = Database(tenant.database_url, pool_size=1)
    others = text("UPDATE saved_queries SET deleted_at = now() WHERE project_id <> :own")
    try:
        with suppress(Undone):
            async with database.begin() as tx:
                await tx.execute(others, {"own": tenant.project_id})
                yield tx
                raise Undone
    finally:
        await database.close()


async def age(tx: Transaction, view: str, seconds: int) -> None:
    """Make the data of a view `seconds` old."""
    moment = {"view": view, "seconds": seconds}
    await tx.execute(
        text(
            "UPDATE snapshots SET published_at = clock_timestamp() - make_interval(secs => :seconds) "
            "WHERE saved_query_id = CAST(:view AS uuid)"
        ),
        moment,
    )
    await tx.execute(
        text(
            "UPDATE saved_queries SET data_as_of = clock_timestamp() - make_interval(secs => :seconds) "
            "WHERE id = CAST(:view AS uuid)"
        ),
        moment,
    )
    await tx.execute(
        text(
            "UPDATE saved_queries SET sync_frequency_set_at = clock_timestamp() - make_interval(secs => :seconds) "
            "WHERE id = CAST(:view AS uuid) AND current_snapshot_id IS NULL"
        ),
        moment,
    )


async def test_data_is_stale_that_is_older_than_two_intervals_of_its_view(tenant: Tenant) -> None:
    hourly = await tenant.materialized("hourly", "SELECT 1 AS n", "1hour")
    daily = await tenant.materialized("daily", "SELECT 1 AS n", "24hour")
    never = await tenant.materialized("never", "SELECT 1 AS n", "1hour")
    await tenant.call("PATCH", f"/warehouse_saved_queries/{never['id']}/", {"sync_frequency": "never"})
    empty = await tenant.materialized("empty", "SELECT error('no') AS n", "1hour")
    await tenant.create_view("plain", "SELECT 1 AS n")

    async with catalog_of(tenant) as tx:
        for view, seconds in ((hourly, 7_300), (daily, 90_000), (never, 900_000), (empty, 7_100)):
            await age(tx, view["id"], seconds)
        stats_now = await stats.load_stats(tx, 10)
        await age(tx, empty["id"], 7_300)
        later, none = await stats.load_stats(tx, 1), await stats.load_stats(tx, 0)

    assert (stats_now.views, stats_now.materialized, stats_now.stale) == (5, 4, 1)
    assert [one.name for one in stats_now.most_overdue] == ["hourly", "empty", "daily"], "compared with their intervals"
    assert stats_now.oldest_seconds == pytest.approx(90_000, abs=60)
    assert stats_now.most_overdue[1].seconds == pytest.approx(7_100, abs=60), (
        "without a result, as old as its frequency"
    )
    assert (later.stale, len(later.most_overdue), none.most_overdue) == (2, 1, ())


async def test_data_of_a_cron_schedule_is_stale_after_two_of_its_longest_gaps(tenant: Tenant) -> None:
    view = await tenant.materialized("weekdays", "SELECT 1 AS n")
    await tenant.act(view["id"], "materialize", {"cron": "0 6 * * 1-5"})
    async with catalog_of(tenant) as tx:
        await age(tx, view["id"], 5 * 86_400)
        before = await stats.load_stats(tx, 1)
        await age(tx, view["id"], 7 * 86_400)
        after = await stats.load_stats(tx, 1)
    assert (before.stale, after.stale) == (0, 1), "from Friday to Monday are three days"


async def test_data_that_a_skipped_run_found_right_is_not_stale(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n", "1hour")
    async with catalog_of(tenant) as tx:
        await age(tx, view["id"], 7_300)
        before = await stats.load_stats(tx, 1)
        run = await publishing.opened(tx, tenant.project_id, view)
        await run_plans.record_unchanged(tx, [(run.id, UUID(view["current_snapshot_id"]), "the same")])
        assert (await publication.publish(tx, [run.id])).unchanged == (run.id,)
        after = await stats.load_stats(tx, 1)
    assert (before.stale, after.stale) == (1, 0)


async def test_an_empty_catalog_has_figures_too(tenant: Tenant) -> None:
    async with catalog_of(tenant) as tx:
        await tx.execute(text("UPDATE runs SET status = 'Failed', finished_at = now() WHERE status = 'Running'"))
        stats_now = await stats.load_stats(tx, 10)
    assert (
        stats_now.views,
        stats_now.materialized,
        stats_now.stale,
        stats_now.oldest_seconds,
        stats_now.most_overdue,
    ) == (0, 0, 0, 0.0, ())
    assert (stats_now.running, stats_now.longest_run_seconds) == (0, 0.0)


async def test_a_run_in_progress_is_counted_with_its_age(tenant: Tenant) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    await tenant.running(view["id"])
    async with catalog_of(tenant) as tx:
        moment = text("UPDATE runs SET started_at = now() - interval '1 hour' WHERE saved_query_id = CAST(:v AS uuid)")
        await tx.execute(moment, {"v": view["id"]})
        stats_now = await stats.load_stats(tx, 10)
    await tenant.act(view["id"], "cancel")
    assert stats_now.running >= 1
    assert stats_now.longest_run_seconds == pytest.approx(3_600, abs=60)
