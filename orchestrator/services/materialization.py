"""Materializing views, and undoing that, in the catalog only: nothing here needs Temporal."""

from dataclasses import dataclass
from uuid import UUID

from orchestrator.catalog import projects, runs, saved_queries
from orchestrator.catalog.database import Database, Transaction
from orchestrator.engines.base import QueryAnalyzer
from orchestrator.model.principal import User
from orchestrator.model.run import Run
from orchestrator.model.saved_query import DEFAULT_FREQUENCY, SavedQuery, Timing
from orchestrator.services.found import found
from orchestrator.services.timings import TimingUpdate, record_timing, timing_after
from orchestrator.services.view_columns import ColumnPropagation

REVERTED_MESSAGE = "The materialization of the view was undone while this run was in progress."


@dataclass(frozen=True)
class Materialization:
    """The timings of views of every project, and the results that go when a view has none any more."""

    database: Database
    engine: QueryAnalyzer

    async def set_timing(
        self, project_id: int, saved_query_id: UUID, update: TimingUpdate, user: User
    ) -> tuple[SavedQuery, SavedQuery]:
        """Materialize a view, in the catalog only; returns it as it was and as it is.

        An update that sets nothing keeps the present timing, or sets 24 hours if there is none. Raises NotFound, and
        Invalid for a timing that cannot be set.
        """
        async with self.database.begin() as tx:
            before = found(await saved_queries.find(tx, project_id, saved_query_id, lock=True))
            timing = timing_after(before, update) or Timing(frequency=DEFAULT_FREQUENCY)
            if timing != before.timing:
                await saved_queries.set_timing(tx, before.id, timing)
                await record_timing(tx, before, timing, user)
            return before, found(await saved_queries.find(tx, project_id, saved_query_id))

    async def restore_timing(self, view: SavedQuery, before: SavedQuery) -> None:
        """Restore the timing that a view had before, unless another client has set one since."""
        async with self.database.begin() as tx:
            await projects.lock_project(tx, view.project_id)
            current = await saved_queries.find(tx, view.project_id, view.id, lock=True)
            if current is None or current.sync_frequency_set_at != view.sync_frequency_set_at:
                return
            if before.timing is not None:
                await saved_queries.set_timing(tx, view.id, before.timing)
            else:  # a first run may have been started, and have published
                await saved_queries.revert(tx, view.id)
                await runs.cancel_running(tx, view.id, REVERTED_MESSAGE, "reverted")
            await record_timing(tx, view, before.timing, None)
            propagation = await self._without_snapshot(tx, current)
        await propagation.finish(self.database, view.project_id)

    async def revert(self, project_id: int, saved_query_id: UUID, user: User) -> tuple[SavedQuery, list[Run]]:
        """Undo a view's materialization in the catalog; its result is invisible from now on. Safe to repeat.

        Returns the view as it was, and the runs that it ended: none of them can publish any more.
        """
        async with self.database.begin() as tx:
            await projects.lock_project(tx, project_id)
            view = found(await saved_queries.find(tx, project_id, saved_query_id, lock=True))
            if view.is_materialized:
                await record_timing(tx, view, None, user)
            if view.is_materialized or view.status is not None:
                await saved_queries.revert(tx, view.id)
            ended = await runs.cancel_running(tx, view.id, REVERTED_MESSAGE, "reverted")
            propagation = await self._without_snapshot(tx, view)
        await propagation.finish(self.database, project_id)
        return view, ended

    async def _without_snapshot(self, tx: Transaction, view: SavedQuery) -> ColumnPropagation:
        """Update the columns of a view that has lost its snapshot, if it had one: readers now evaluate its text."""
        had = view.current_snapshot is not None and await saved_queries.is_plain(tx, view.id)
        propagation = ColumnPropagation(self.engine, [view.id] if had else [], again=[view.id] if had else [])
        await propagation.step(tx)
        return propagation
