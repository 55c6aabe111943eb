"""Finds the readers of a view or table that one edit would break, before it is saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.catalog import definitions, saved_queries
from orchestrator.catalog.database import Database, Transaction
from orchestrator.model.change_plan import BrokenReader
from orchestrator.model.definitions import Change, Definitions, TableDefinition, ViewDefinition
from orchestrator.model.names import name_key
from orchestrator.model.saved_query import SavedQuery
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import SourceTable
from orchestrator.services.change_plans import ChangePlanner, readers_break
from orchestrator.services.query_analysis import AnalyzedQuery


class Checked(NamedTuple):
    """The readers that an edit breaks. `base` identifies the definitions for which that holds; None: for all."""

    broken: tuple[BrokenReader, ...] = ()
    base: str | None = None

    async def is_stale(self, tx: Transaction, project_id: int) -> bool:
        """Whether definitions have changed since. The caller's lock on the project keeps them as they are."""
        return self.base is not None and await definitions.base(tx, project_id) != self.base

    @property
    def names(self) -> list[str]:
        """The names of the readers."""
        return [one.name for one in self.broken]


@dataclass(frozen=True)
class ReaderGuard:
    """Checks edits of any project.

    An edit that leaves the columns as they are breaks no reader, so most edits cost nothing here.
    """

    database: Database
    planner: ChangePlanner

    async def of_view(self, view: SavedQuery, analyzed: AnalyzedQuery, *, may_break: bool) -> Checked:
        """The readers that another query of the view breaks. Raises ReadersBreak if there are some, unless allowed."""
        if analyzed.columns == view.columns:
            return Checked()
        async with self.database.single() as tx:
            if not await saved_queries.dependents(tx, saved_query_id=view.id):
                return Checked()
        definition = ViewDefinition.model_validate({**dict(view), "timing": view.timing, "query": analyzed.query})
        return await self._check(view.project_id, Change(definitions=Definitions(views=(definition,))), {}, may_break)

    async def of_table(self, table: SourceTable, changed: SourceTable, *, may_break: bool) -> Checked:
        """The readers that other columns of the table break. Raises ReadersBreak if there are some, unless allowed."""
        if changed.columns == table.columns:
            return Checked()
        async with self.database.single() as tx:
            if not await saved_queries.dependents(tx, source_table_id=table.id):
                return Checked()
        definition = TableDefinition.model_validate({**dict(changed), "name": table.name})
        change = Change(definitions=Definitions(tables=(definition,)))
        return await self._check(table.project_id, change, {name_key(table.name): changed.columns}, may_break)

    async def _check(
        self, project_id: int, change: Change, described: dict[str, Sequence[Column]], may_break: bool
    ) -> Checked:
        known = {key: tuple(columns) for key, columns in described.items()}
        plan = (await self.planner.prepare(project_id, change, known)).plan
        if plan.broken and not may_break:
            raise readers_break(plan.broken)
        return Checked(plan.broken, plan.base)
