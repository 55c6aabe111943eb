"""The step that makes the checks of a source table, once for all members of a generation that read it."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity

from orchestrator.activities.heartbeat import heartbeating
from orchestrator.activities.write import raise_if_moved
from orchestrator.catalog import checks, projects, run_inputs, source_tables
from orchestrator.catalog.database import Database, Transaction
from orchestrator.engines.base import TableChecker
from orchestrator.model.check import not_published
from orchestrator.model.errors import ChecksFailed, InputMissing, InputReplaced
from orchestrator.model.generation import TableCheckTask
from orchestrator.model.limits import Limits
from orchestrator.model.run import TableCheckPlan
from orchestrator.services import check_plans
from orchestrator.services.pinned_sources import PinnedSources
from orchestrator.stores.base import SnapshotStore
from orchestrator.temporal import contract

_HEARTBEAT_SECONDS = 0.5


@dataclass(frozen=True)
class TableCheckActivities:
    """The step, and its dependencies. `limits` and `query_timeout` hold for projects that have none of their own."""

    database: Database
    checker: TableChecker
    store: SnapshotStore
    sources: PinnedSources
    limits: Limits
    query_timeout: timedelta

    @activity.defn(name=contract.CHECK_TABLE)
    async def check_table(self, task: TableCheckTask) -> None:
        """Make the checks of a source table on the files that the generation has pinned.

        Raises ChecksFailed, which fails the members that read it, or the error by which the workflow learns that a file
        is not what was pinned.
        """
        async with self.database.begin() as tx:
            plan = await self._plan(tx, task)
        pins = self.sources.of(task.pinned_by, task.project_id)
        plan = await check_plans.attached(plan, pins)
        relations = (*plan.relations, *plan.check_relations)
        async with heartbeating(_HEARTBEAT_SECONDS):
            folder = await self.store.project_folder(task.project_id)
            try:
                found = await self.checker.check(plan, folder, self.store.file_url)
            except (InputReplaced, InputMissing):
                await raise_if_moved(relations, pins)
                raise
        await raise_if_moved(relations, pins)
        if not task.is_try:
            async with self.database.begin() as tx:
                # An attempt whose answer was lost has stored some before, and so has one of files that were replaced.
                await checks.forget(tx, task.pinned_by, [one.check_id for one in found])
                await checks.record(tx, [checks.MadeResults(found, generation_id=task.pinned_by)])
        reason = not_published(found)
        if reason is not None:
            raise ChecksFailed(f'Checks of the source table "{plan.name}" failed. {reason}')

    async def _plan(self, tx: Transaction, task: TableCheckTask) -> TableCheckPlan:
        table = await source_tables.find(tx, task.project_id, task.table_id)
        if table is None:
            raise InputMissing("The source table was deleted.")
        planned = (await checks.planned(tx, [table.id])).get(table.id, [])
        found = await check_plans.of_table(tx, task.project_id, table.name, planned)
        own = await projects.get_limits(tx, task.project_id)
        return TableCheckPlan(
            project_id=task.project_id,
            name=table.name,
            relations=await run_inputs.named(tx, task.project_id, [table.name]),
            checks=found.checks,
            check_relations=found.relations,
            timeout_seconds=own.timeout_seconds or self.query_timeout.total_seconds(),
            limits=own.over(self.limits),
        )
