"""Changes of a project's definitions, made as a whole or not at all.

The change is planned outside of a transaction, since binding statements and reading files take long. It is made in one
transaction under the project's lock, and only if the definitions are still those that the plan was computed from. Its
consequences in Temporal come after the commit, and the reconciler does those that an interruption has left out.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from orchestrator.catalog import saved_queries
from orchestrator.catalog.database import Database
from orchestrator.model.base import Value
from orchestrator.model.change_plan import ChangePlan
from orchestrator.model.definitions import Change, Definitions, ViewDefinition
from orchestrator.model.errors import Invalid, OrchestratorError, PlanOutdated
from orchestrator.model.names import name_key
from orchestrator.model.principal import User
from orchestrator.model.saved_query import SavedQuery
from orchestrator.reconciliation.current import CurrentLinks
from orchestrator.reconciliation.schedules import ScheduleSync
from orchestrator.services.change_plans import ChangePlanner, refusal
from orchestrator.services.change_writes import ChangeWriter, Written
from orchestrator.services.generations import GenerationService, RefreshOrder
from orchestrator.services.resuming import ScheduleResumption
from orchestrator.services.runs import RunService
from orchestrator.temporal.run_workflows import RunWorkflows

T = TypeVar("T")

logger = logging.getLogger(__name__)

_TRIES = 3
# A call to Temporal is mostly waiting.
_AT_ONCE = 8


class AppliedChange(Value):
    """A change that was made: its plan, and the generation that refreshes what it concerns, if one was started."""

    plan: ChangePlan
    generation_id: UUID | None


@dataclass(frozen=True)
class ChangeService:
    """The definitions of every project as a whole."""

    database: Database
    planner: ChangePlanner
    writer: ChangeWriter
    schedule_sync: ScheduleSync
    resumption: ScheduleResumption
    workflows: RunWorkflows
    runs: RunService
    generations: GenerationService
    current: CurrentLinks

    async def definitions(self, project_id: int) -> Definitions:
        """The definitions of a project, sorted by name."""
        stored = await self.planner.load(project_id)
        return Definitions(
            views=tuple(stored.views[key].definition for key in sorted(stored.views)),
            tables=tuple(stored.tables[key].definition for key in sorted(stored.tables)),
        )

    async def plan(self, project_id: int, change: Change) -> ChangePlan:
        """Plan a change."""
        return await self.planner.plan(project_id, change)

    async def plan_view(
        self, project_id: int, name: str, *, query: dict[str, Any] | None = None, deleted: bool = False
    ) -> ChangePlan:
        """Plan a change of one view: another query, or its deletion. A view that does not exist is new."""
        if deleted:
            return await self.plan(project_id, Change(definitions=Definitions(), delete=(name,)))
        stored = (await self.planner.load(project_id)).views.get(name_key(name))
        if stored is None and query is None:
            raise Invalid("A new view has a query.", attr="query")
        before = stored.definition if stored else ViewDefinition(name=name, query={})
        view = before.model_copy(update={"query": query or before.query})
        return await self.plan(project_id, Change(definitions=Definitions(views=(view,))))

    async def apply(
        self, project_id: int, change: Change, user: User, *, base: str | None = None, refresh: bool = True
    ) -> AppliedChange:
        """Make a change, and refresh what it concerns as one generation.

        With `base`, the change is made only if its plan is computed from the same definitions as that plan was. Raises
        PlanOutdated otherwise, Invalid if the plan has problems, ReadersBreak, or TemporalUnavailable, with nothing
        changed.
        """
        await self.workflows.ping()
        for _ in range(_TRIES):
            prepared = await self.planner.prepare(project_id, change)
            if base is not None and prepared.plan.base != base:
                raise PlanOutdated
            error = refusal(prepared.plan, break_dependents=change.break_dependents)
            if error is not None:
                raise error
            if not prepared.plan.changes:
                break
            written = await self.writer.write(project_id, prepared, user)
            if written is not None:
                await self._follow(project_id, written, user)
                break
        else:
            raise PlanOutdated("The project is being changed all the time. Try again in a moment.")
        generation_id = await self._refresh(project_id, prepared.plan, user) if refresh else None
        return AppliedChange(plan=prepared.plan, generation_id=generation_id)

    async def _follow(self, project_id: int, written: Written, user: User) -> None:
        """Do what follows from a change that is committed: schedules, paths, runs that may publish no more.

        Its errors are logged: the client would take one for a change that was not made. One of them hinders nothing
        else of what follows.
        """
        await _each(written.scheduled, self._sync_schedule)
        with _logged("pauses that the change of project %d lifts stay: %s", project_id):
            await self._resume(project_id, written, user)
        with _logged("runs of project %d are left to the reconciler: %s", project_id):
            await self.runs.stop({run.id: run for run in written.ended})
        with _logged("paths of project %d are left to the reconciler: %s", project_id):
            await self.current.sync_all(project_id, sorted(written.paths))

    async def _sync_schedule(self, saved_query_id: UUID) -> None:
        with _logged("the schedule of view %s is left to the reconciler: %s", saved_query_id):
            await self.schedule_sync.sync(saved_query_id)

    async def _resume(self, project_id: int, written: Written, user: User) -> None:
        """Lift the pauses of schedules that the change lifts, as the same edits of single views do."""

        async def resume(view: SavedQuery) -> None:
            with _logged("the schedule of view %s stays paused, if it was: %s", view.id):
                if view.id in written.resumed:
                    await self.resumption.resume(view, user)
                if view.id in written.edited:
                    await self.resumption.resume_after_edit(view, user)

        changed = written.resumed | written.edited
        if changed:
            async with self.database.begin() as tx:
                views = await saved_queries.list_materialized(tx, project_id, changed)
            await _each(views, resume)

    async def _refresh(self, project_id: int, plan: ChangePlan, user: User) -> UUID | None:
        if not plan.runs:
            return None
        order = RefreshOrder(views=tuple(one.name for one in plan.runs))
        try:
            return await self.generations.start(project_id, order, user)
        except OrchestratorError as error:
            # The change is made. A view may have been deleted since; else the next apply, or a tick, refreshes them.
            logger.warning("a change of project %d started no refresh: %s", project_id, error.message)
            return None


@contextmanager
def _logged(words: str, of: object) -> Iterator[None]:
    """Log an error of what follows a change, in words that have its subject and its message."""
    try:
        yield
    except OrchestratorError as error:
        logger.warning(words, of, error.message)


async def _each(views: Iterable[T], work: Callable[[T], Awaitable[object]]) -> None:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(view: T) -> None:
        async with slots:
            await work(view)

    await asyncio.gather(*map(one, views))
