"""Updates the columns of views without a current snapshot when the columns of an input change.

A run evaluates such a view from its text, so the columns recorded when it was saved are wrong once an input has others.
The readers are described again in the transaction of the change, under the project's lock. So the
recorded columns are always those that a run would see. Checking a new view against them costs the same however many
views lie below it. The alternative is to describe a view from the texts of all views below it at each save. Such a save
would be slow on a deep stack, and the other views' `columns` would stay outdated.

A view is described again only if one of its inputs has other columns now. The cascade stops at a view with a result,
which serves its result's columns until its own next run.
"""

import logging
import time
from collections.abc import Collection, Sequence
from uuid import UUID

from orchestrator.catalog import lineage, projects, view_columns
from orchestrator.catalog.database import Database, Transaction
from orchestrator.engines.base import QueryAnalyzer
from orchestrator.model.engine import Dialect
from orchestrator.model.errors import EngineCrashed, InvalidQuery, Transient
from orchestrator.model.lineage import inputs_first
from orchestrator.model.snapshot import seen

logger = logging.getLogger(__name__)

# A transaction is aborted after 20 seconds. Work that is left after this time continues in further transactions, each
# under the lock.
_SECONDS_A_TRANSACTION = 4.0
_AT_ONCE = 50


class ColumnPropagation:
    """Updates the columns of views without a snapshot that read, directly or not, some changed views or tables.

    `changed` are those that have other columns now; `again` are views that are to be described in any case.
    """

    def __init__(self, engine: QueryAnalyzer, changed: Collection[UUID], *, again: Collection[UUID] = ()) -> None:
        self.finished = not (changed or again)
        self._engine = engine
        self._changed = set(changed)
        self._again = set(again)
        self._done: set[UUID] = set()

    async def step(self, tx: Transaction) -> None:
        """Continue for as long as a transaction may take. `tx` must hold the lock on the project's definitions."""
        if self.finished:
            return
        until = time.monotonic() + _SECONDS_A_TRANSACTION
        graph = await lineage.plain_readers(tx, self._changed | self._again)
        inputs: dict[UUID, set[UUID]] = {}
        for read, readers in graph.items():
            for reader in readers:
                inputs.setdefault(reader, set()).add(read)
        waiting = [view for view in inputs_first(self._again, graph) if view not in self._done]
        batch: list[UUID] = []
        for position, view in enumerate(waiting):
            if view in self._again or inputs.get(view, set()) & (self._changed | set(batch)):
                batch.append(view)
            if batch and (len(batch) == _AT_ONCE or position == len(waiting) - 1):
                await self._describe(tx, batch)
                batch = []
                if time.monotonic() > until:
                    return
        self.finished = True

    async def finish(self, database: Database, project_id: int) -> None:
        """Do the remaining work in further transactions. Call this once the transaction of the change has committed.

        An error is logged: the client would take it for a change that was not made.
        """
        try:
            while not self.finished:
                async with database.begin() as tx:
                    await projects.lock_project(tx, project_id)
                    await self.step(tx)
        except Transient as error:
            logger.warning("readers of changed views still show their old columns: %s", error.message)

    async def _describe(self, tx: Transaction, batch: Sequence[UUID]) -> None:
        """Describe views, inputs first, over their inputs. One that no longer binds keeps the columns that it had."""
        texts = await view_columns.statements(tx, batch)
        # The columns of a view in a cluster's dialect stay as they are until its next run: nothing asks a cluster for
        # them while a project is locked.
        views = [texts[view] for view in batch if view in texts and texts[view].dialect is Dialect.DUCKDB]
        tables = await view_columns.columns_of_inputs(tx, batch)
        try:
            asked = [(view.name, view.sql, view.columns) for view in views]
            found = await self._engine.describe_each(asked, tables, project_id=views[0].project_id) if asked else []
        except (EngineCrashed, InvalidQuery) as error:
            # One of the views exceeds a limit, which is no reason to refuse a change of its input.
            logger.warning("the columns of %d views are left as they were: %s", len(views), error.message)
            found = [InvalidQuery(error.message)] * len(views)
        self._done |= set(batch)
        for view, described in zip(views, found, strict=True):
            if not isinstance(described, InvalidQuery) and described != seen(view.columns):
                await view_columns.set_columns(tx, view.id, described)
                self._changed.add(view.id)
