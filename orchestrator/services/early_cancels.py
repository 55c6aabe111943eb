"""Members of a generation that are cancelled while it waits for others, so that it has no runs yet.

Such a generation remembers the views. As it begins, their runs are recorded as Cancelled and those below them as
Skipped, as if they had been cancelled a moment later.
"""

from collections.abc import Iterator, Sequence
from uuid import UUID

from orchestrator.catalog import generations, runs
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.runs import EarlyEnd
from orchestrator.model.generation import Generation, PublishMode, why_skipped
from orchestrator.model.run import RunStatus
from orchestrator.model.view_graph import ViewGraph


def early_ends(generation: Generation, graph: ViewGraph, members: Sequence[UUID]) -> dict[UUID, EarlyEnd]:
    """How the runs of some members end without having begun. `members` come after those that they read."""
    cancelled = {one.view: one.at for one in generation.selection.cancelled if one.view in members}
    if not cancelled:
        return {}
    ends = {view: EarlyEnd(RunStatus.CANCELLED, at) for view, at in cancelled.items()}
    causes = {view: view for view in cancelled}  # the cancelled view because of which each one ends
    position = {view: number for number, view in enumerate(members)}
    for view, above in _ended_by(generation, graph, members, min(cancelled, key=position.__getitem__)):
        ended = above.intersection(causes)
        if view not in ends and ended:
            causes[view] = causes[min(ended, key=position.__getitem__)]
            ends[view] = EarlyEnd(RunStatus.SKIPPED, None, why_skipped(graph.name(causes[view]), RunStatus.CANCELLED))
    return ends


def _ended_by(
    generation: Generation, graph: ViewGraph, members: Sequence[UUID], first: UUID
) -> Iterator[tuple[UUID, set[UUID]]]:
    """Each member with those whose end it does not outlive. `first` is the first cancelled one."""
    if generation.publish is PublishMode.ALL_OR_NOTHING:
        return ((view, {first}) for view in members)
    parents = graph.parents(members)
    return ((view, parents[view]) for view in members)


def going_on(generation: Generation, graph: ViewGraph) -> list[UUID]:
    """The members of a generation that waits whose runs have not ended yet, each after those that it reads."""
    members = graph.members(generation.selection)
    ends = early_ends(generation, graph, members)
    return [view for view in members if view not in ends]


async def cancel_in_waiting(tx: Transaction, project_id: int, view: UUID) -> bool:
    """Cancel a view in the generations of its project that wait and would refresh it; whether there are any.

    False also if the view has an open run: it is in progress, and does not wait. The project must be locked, so that
    none of them begins.
    """
    if await runs.list_open(tx, [view]):
        return False
    graph = await generations.graph(tx, project_id)
    found = False
    for waiting in await generations.list_waiting(tx, project_id):
        if view in going_on(waiting, graph):
            await generations.cancel_view(tx, waiting.id, view)
            found = True
    return found
