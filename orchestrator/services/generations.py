"""Generations: asking for a refresh of several views as one, following it, and cancelling it."""

from uuid import UUID

from orchestrator.catalog import generations, names, projects, saved_queries
from orchestrator.catalog.database import Database, Transaction
from orchestrator.catalog.generations import GenerationCounts
from orchestrator.model.base import Value
from orchestrator.model.errors import Invalid, NotFound, NotMaterialized, NotRunning, StillStopping
from orchestrator.model.generation import (
    Direction,
    Generation,
    GenerationStatus,
    Member,
    PublishMode,
    Selection,
)
from orchestrator.model.principal import User
from orchestrator.model.run import RunRef, Trigger
from orchestrator.services.generation_start import GenerationStart, new_generation
from orchestrator.services.runs import CANCEL_WAIT, RunService
from orchestrator.temporal import contract
from orchestrator.temporal.run_workflows import RunWorkflows, single_run


class GenerationState(Value):
    """A generation with its members, by name."""

    generation: Generation
    members: tuple[Member, ...]


class RefreshOrder(Value):
    """A request for a refresh: views by id or name, and how they are refreshed."""

    views: tuple[UUID | str, ...] = ()
    direction: Direction = Direction.NONE
    all: bool = False
    force: bool = False
    publish: PublishMode = PublishMode.WHAT_SUCCEEDED


class GenerationService:
    """The generations of every project."""

    def __init__(
        self, *, database: Database, workflows: RunWorkflows, runs: RunService, start: GenerationStart
    ) -> None:
        self._database = database
        self._workflows = workflows
        self._runs = runs
        self._start = start

    async def start(self, project_id: int, order: RefreshOrder, user: User) -> UUID:
        """Start a generation; returns its id. If it has one member that is being refreshed, that refresh is joined.

        Raises Invalid if the order names no view, NotFound for an unknown one, NotMaterialized if it has no member.
        """
        if order.all is bool(order.views):
            raise Invalid("Name some views, or ask for all of them.", attr="select")
        async with self._database.begin() as tx:
            graph = await generations.graph(tx, project_id)
            chosen = {_known(one, graph.find(one)): None for one in order.views}
            selection = Selection(views=tuple(chosen), direction=order.direction, all=order.all)
            members = graph.members(selection)
            single = await saved_queries.find(tx, project_id, members[0]) if len(members) == 1 else None
        if not members:
            raise NotMaterialized("None of these views is materialized.")
        if single is not None:
            return await self._runs.start_generation(single, user, full_refresh=order.force)
        generation = new_generation(project_id, selection, Trigger.API, publish=order.publish, force=order.force)
        names_of = {view: graph.name(view) for view in chosen}
        return await self._start.start(generation, names_of, len(members), user)

    async def get(self, project_id: int, generation_id: UUID) -> GenerationState:
        """A generation. Raises NotFound."""
        async with self._database.begin() as tx:
            generation = await generations.find(tx, project_id, generation_id)
            if generation is None:
                raise NotFound
            return GenerationState(generation=generation, members=tuple(await generations.members(tx, generation_id)))

    async def page(
        self,
        project_id: int,
        *,
        view: UUID | str | None,
        status: GenerationStatus | None,
        limit: int,
        offset: int,
    ) -> tuple[int, list[GenerationCounts]]:
        """The number of generations of a project and one page of them, newest first. Raises NotFound for the view."""
        async with self._database.begin() as tx:
            view_id = None if view is None else _known(view, await self._find(tx, project_id, view))
            return await generations.page(tx, project_id, view_id=view_id, status=status, limit=limit, offset=offset)

    async def cancel(self, project_id: int, generation_id: UUID) -> GenerationState:
        """Cancel a generation; returns when all its queries have stopped and nothing more of it will be published.

        Raises NotFound, NotRunning if it had ended, StillStopping if it takes too long.
        """
        state = await self.get(project_id, generation_id)
        if state.generation.status is not GenerationStatus.RUNNING:
            raise NotRunning("Cannot cancel a generation that is not running")
        if contract.is_of_several(state.generation.workflow_id):
            await self._workflows.cancel_generation(state.generation.workflow_id)
            if not await self._workflows.wait_for_generation(state.generation.workflow_id, CANCEL_WAIT):
                raise StillStopping
        else:
            await self._runs.stop(_runs_of(state))
        ended = await self._ended(project_id, generation_id)
        if ended.generation.status in {GenerationStatus.COMPLETED, GenerationStatus.SKIPPED}:
            raise NotRunning("Cannot cancel a generation that is not running")
        return ended

    async def _ended(self, project_id: int, generation_id: UUID) -> GenerationState:
        """The generation after a cancel. One whose workflow the server does not have yet is ended before it begins."""
        state = await self.get(project_id, generation_id)
        if state.generation.status is GenerationStatus.RUNNING and state.generation.started_at is None:
            async with self._database.begin() as tx:
                await projects.lock_project(tx, project_id)  # as its workflow does when it begins
                await generations.close(tx, generation_id, GenerationStatus.CANCELLED)
            state = await self.get(project_id, generation_id)
            if state.generation.status is GenerationStatus.RUNNING:
                raise StillStopping
        return state

    async def _find(self, tx: Transaction, project_id: int, view: UUID | str) -> UUID | None:
        if isinstance(view, str):
            return await names.view_of(tx, project_id, view)
        return view if await saved_queries.is_live(tx, project_id, view) else None


def _runs_of(state: GenerationState) -> dict[UUID, RunRef]:
    """The run of a generation of one view.

    It may not be recorded yet: the generation is recorded first if the row of an earlier run of the view is still open.
    """
    if state.members:
        return {one.run.id: one.run for one in state.members}
    (view_id,) = state.generation.selection.views
    run = single_run(view_id, state.generation.id)
    return {run.id: run}


def _known(view: UUID | str, view_id: UUID | None) -> UUID:
    if view_id is None:
        raise NotFound(f'There is no view "{view}" in this project.')
    return view_id
