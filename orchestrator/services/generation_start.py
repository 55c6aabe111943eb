"""Starting a generation of several views: first in the catalog, then its workflow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from orchestrator.catalog import audit_log, generations, projects
from orchestrator.catalog.database import Database
from orchestrator.model.audit import Verb
from orchestrator.model.base import now
from orchestrator.model.errors import TemporalUnavailable, TooManyRequests
from orchestrator.model.generation import Direction, Generation, GenerationStatus, PublishMode, Selection
from orchestrator.model.principal import User
from orchestrator.model.printable import code
from orchestrator.model.run import Trigger
from orchestrator.temporal import contract
from orchestrator.temporal.run_workflows import RunWorkflows

_SHOWN_NAMES = 3
# Each that waits for another one asks again every ten seconds.
_MOST_WAITING = 100


def new_generation(
    project_id: int,
    selection: Selection,
    trigger: Trigger,
    *,
    publish: PublishMode = PublishMode.WHAT_SUCCEEDED,
    force: bool = False,
) -> Generation:
    """A generation of several views that is about to be started."""
    generation_id = uuid4()
    return Generation(
        id=generation_id,
        project_id=project_id,
        workflow_id=contract.generation_workflow_id(project_id, generation_id),
        selection=selection,
        publish=publish,
        full_refresh=force,
        trigger=trigger,
        status=GenerationStatus.RUNNING,
        created_at=now(),
    )


@dataclass(frozen=True)
class GenerationStart:
    """Starts generations that users ask for."""

    database: Database
    workflows: RunWorkflows

    async def start(
        self, generation: Generation, chosen: Mapping[UUID, str], members: int, user: User, *, audited: bool = True
    ) -> UUID:
        """Start a generation, or join one that was asked for in the same way and has not begun; returns its id.

        `chosen` are the names of the views that were asked for. If `audited`, each gets an audit entry. Raises
        TooManyRequests if many of the project wait for others. Raises TemporalUnavailable, with nothing changed, if the
        server cannot be reached. Nothing is left to do once the server has it: a client that got an error would start
        another one.
        """
        entries: list[UUID] = []
        async with self.database.begin() as tx:
            await projects.lock_project(tx, generation.project_id)
            joined = await generations.find_waiting(tx, generation)
            if joined is not None:
                return joined
            if await generations.count_waiting(tx, generation.project_id) >= _MOST_WAITING:
                raise TooManyRequests(
                    f"{_MOST_WAITING} refreshes of this project wait for others. Cancel some of them."
                )
            await generations.insert_new(tx, generation, user.id)
            if audited:
                verb = Verb.SYNC_TRIGGERED
                entries = await audit_log.record_all(tx, generation.project_id, chosen, verb, user)
        words = _words(generation.selection, [*chosen.values()])
        label = f"{words} (project {generation.project_id}), {members:,} views"
        details = f"Started by {code(user.email)} over the API."
        try:
            await self.workflows.start_generation(generation, label, details)
        except TemporalUnavailable:
            # If the server has it all the same, its workflow finds no such generation and ends, unless it has begun.
            if await self._withdrawn(generation, entries):
                raise
        return generation.id

    async def _withdrawn(self, generation: Generation, entries: Sequence[UUID]) -> bool:
        async with self.database.begin() as tx:
            is_removed = await generations.delete_unstarted(tx, generation.id)
            if is_removed:
                await audit_log.withdraw(tx, entries)
            return is_removed


def _words(selection: Selection, chosen: Sequence[str]) -> str:
    """The selection for people."""
    if selection.all:
        return "Refresh of all views"
    shown = ", ".join(chosen[:_SHOWN_NAMES])
    more = f" and {len(chosen) - _SHOWN_NAMES:,} more" if len(chosen) > _SHOWN_NAMES else ""
    beside = "" if selection.direction is Direction.NONE else f", {selection.direction}"
    return f"Refresh of {shown}{more}{beside}"
