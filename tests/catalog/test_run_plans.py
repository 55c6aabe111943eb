"""The plan and the result of an open run, as its steps pass them on, also when it has to begin again."""

from uuid import UUID

from orchestrator.catalog import publication, run_plans, runs
from orchestrator.catalog.database import Database
from orchestrator.catalog.run_plans import Outcome
from orchestrator.model.check import CheckResult, CheckStatus, Severity
from tests.catalog.test_publication import result
from tests.support import publishing
from tests.support.tenants import Tenant

VIEW_CHECK = UUID(int=1)


async def test_an_attempt_that_began_before_its_run_was_reset_records_nothing(
    database: Database, tenant: Tenant
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    async with database.begin() as tx:
        run = await publishing.opened(tx, tenant.project_id, view)
        await run_plans.reset(tx, [run.id])
        assert not await publishing.recorded(tx, result(tenant, view, run, attempt=1))
        attempt = await publishing.claimed(tx, run)
        assert await publishing.recorded(tx, result(tenant, view, run, attempt=attempt))
        assert [one.run_id for one in (await publication.publish(tx, [run.id])).published] == [run.id]


async def test_a_reset_forgets_what_was_written_and_what_was_found_unchanged(
    database: Database, tenant: Tenant
) -> None:
    views = [await tenant.materialized(name, "SELECT 1 AS n") for name in ("written", "same")]
    async with database.begin() as tx:
        written, same = [await publishing.opened(tx, tenant.project_id, view) for view in views]
        assert await publishing.recorded(tx, result(tenant, views[0], written))
        await run_plans.record_unchanged(tx, [(same.id, UUID(views[1]["current_snapshot_id"]), "the same")])
        await run_plans.reset(tx, [written.id, same.id])
        for run in (written, same):
            stored = await run_plans.load(tx, run.id)
            assert stored is not None
            assert (stored.written, stored.unchanged_id, stored.unchanged_reason) == (None, None, None)


async def test_a_run_is_judged_by_the_checks_of_the_attempt_that_has_written_its_result(
    database: Database, tenant: Tenant
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    passed, failed = [
        CheckResult(check_id=VIEW_CHECK, label="c", severity=Severity.ERROR, status=status, failing_rows=number)
        for number, status in enumerate((CheckStatus.PASSED, CheckStatus.FAILED))
    ]
    async with database.begin() as tx:
        run = await publishing.opened(tx, tenant.project_id, view)
        first = Outcome(run.id, 1, result(tenant, view, run), checks=(passed,))
        assert await run_plans.record(tx, [first]) == {run.id}
        await run_plans.reset(tx, [run.id])
        attempt = await publishing.claimed(tx, run)
        second = Outcome(run.id, attempt, result(tenant, view, run, attempt=attempt), checks=(failed,))
        assert await run_plans.record(tx, [second]) == {run.id}
        stored = await run_plans.load(tx, run.id)
        assert stored is not None
        assert stored.checks == (failed,)
        done = await publication.publish(tx, [run.id])
        assert (done.published, [one.error_code for one in done.refused]) == ((), ["checks_failed"])


async def test_attempts_that_were_outdated_by_a_reset_count_as_no_tries(database: Database, tenant: Tenant) -> None:
    views = [await tenant.materialized(name, "SELECT 1 AS n") for name in ("begun", "waiting")]
    async with database.begin() as tx:
        begun, waiting = [await publishing.opened(tx, tenant.project_id, view, begun=False) for view in views]
        assert await publishing.claimed(tx, begun) == 1
        await run_plans.reset(tx, [begun.id, waiting.id])
        for run, attempt in ((begun, 3), (waiting, 1)):
            claimed = (await run_plans.claim(tx, [run.id]))[run.id]
            assert (claimed.attempt, claimed.tries) == (attempt, 1)


async def test_an_attempt_that_had_to_wait_is_no_try_and_gives_no_earlier_one_its_right_back(
    database: Database, tenant: Tenant
) -> None:
    views = [await tenant.materialized(name, "SELECT 1 AS n") for name in ("again", "first")]
    async with database.begin() as tx:
        again = await publishing.opened(tx, tenant.project_id, views[0])
        assert await publishing.claimed(tx, again) == 2
        await runs.release_attempt(tx, again.id, 2)
        assert not await publishing.recorded(tx, result(tenant, views[0], again, attempt=1))
        first = await publishing.opened(tx, tenant.project_id, views[1])
        await runs.release_attempt(tx, first.id, 1)
        for run, attempt, tries in ((again, 3, 2), (first, 1, 1)):
            claimed = (await run_plans.claim(tx, [run.id]))[run.id]
            assert (claimed.attempt, claimed.tries) == (attempt, tries)


async def test_an_attempt_that_was_outdated_cannot_say_that_nothing_has_changed(
    database: Database, tenant: Tenant
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    version = UUID(view["current_snapshot_id"])
    async with database.begin() as tx:
        run = await publishing.opened(tx, tenant.project_id, view)
        await run_plans.reset(tx, [run.id])
        assert not await run_plans.record(tx, [Outcome(run.id, 1, None, version, "the same")])
        attempt = await publishing.claimed(tx, run)
        assert await run_plans.record(tx, [Outcome(run.id, attempt, None, version, "the same")]) == {run.id}
        stored = await run_plans.load(tx, run.id)
        assert stored is not None
        assert (stored.unchanged_id, stored.unchanged_reason) == (version, "the same")


async def test_a_run_keeps_its_first_plan_until_it_has_ended(database: Database, tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    async with database.begin() as tx:
        run = await publishing.opened(tx, tenant.project_id, view)
        first = await run_plans.load(tx, run.id)
        assert first is not None
        await run_plans.store(tx, [first.plan.model_copy(update={"sql": "SELECT 2"})])
        assert await run_plans.load(tx, run.id) == first
        await runs.cancel_running(tx, UUID(view["id"]), "no more", "reverted")
        assert await run_plans.load(tx, run.id) is None
