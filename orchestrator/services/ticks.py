"""Ticks of a project that are due together become one generation, so that their views are of one moment.

They gather in the catalog: each waits until no other has come for a moment, and the first that sees this starts the
generation for all. A workflow that collects them would do the same, but a server admits no more than two thousand
updates to one, and ten thousand signals are more than it can handle in the time of a task.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from orchestrator.catalog import generations, projects, runs, saved_queries, ticks
from orchestrator.catalog.database import Database, Transaction
from orchestrator.catalog.ticks import WaitingTick
from orchestrator.model.base import now
from orchestrator.model.errors import StillStopping
from orchestrator.model.generation import Generation, Selection
from orchestrator.model.run import Run, RunStatus, Trigger
from orchestrator.model.tick import Gathered, Tick
from orchestrator.model.webhook_event import ClosedRun
from orchestrator.services.generation_start import new_generation
from orchestrator.temporal.run_workflows import RunWorkflows

# Ticks that come due together start within some tenths of a second of each other.
_QUIET_SECONDS, _MOST_SECONDS = 0.3, 3.0
# A tick that has waited for longer was ended by an operator, or no worker has run since.
_LOST = timedelta(minutes=10)
_FORGOTTEN = timedelta(days=1)
_SIGNALS_AT_ONCE = 20
_IN_PROGRESS = "A run of this view was in progress."
_LEFT_OUT = "The generation of its tick ended before it refreshed this view."


@dataclass(frozen=True)
class Ticks:
    """The ticks of every project."""

    database: Database
    workflows: RunWorkflows

    async def gather(self, tick: Tick) -> Gathered:
        """Join the ticks of the project that are due now; returns what this one is to do. It may be repeated.

        Raises TemporalUnavailable if the generation cannot be started yet.
        """
        async with self.database.begin() as tx:
            project_id = await saved_queries.get_project_id(tx, tick.saved_query_id)
            if project_id is None or await ticks.is_alone(tx, project_id):
                return Gathered()
            await projects.lock_project(tx, project_id)
            generation_id = await ticks.ensure(tx, tick, project_id)
            if generation_id is None:
                decided = await self._decide(tx, project_id, tick)
                if decided.generation_id is None:
                    return decided
                generation_id = decided.generation_id
            generation = await generations.find(tx, project_id, generation_id)
        if generation is not None and generation.started_at is None:
            await self._start(generation)
        return Gathered(generation_id=generation_id)

    async def outcome(self, tick: Tick) -> ClosedRun | None:
        """How the view of a tick has ended in the generation that the tick follows; None if it has not."""
        if tick.generation_id is None:
            return _left_out(tick)
        async with self.database.begin() as tx:
            run = await runs.find_in_generation(tx, tick.generation_id, tick.saved_query_id)
            is_running = await generations.is_running(tx, tick.generation_id)
        if run is None:
            return None if is_running else _left_out(tick)
        return None if run.status is RunStatus.RUNNING else ClosedRun.of(run)

    async def release(self, generation_id: UUID) -> None:
        """Report to the ticks that follow a generation, which has ended, how it went for their views."""
        async with self.database.begin() as tx:
            following = await ticks.of_generation(tx, generation_id)
        slots = asyncio.Semaphore(_SIGNALS_AT_ONCE)

        async def report(tick: Tick, ended: ClosedRun) -> None:
            async with slots:
                await self.workflows.report_to_tick(tick, ended)

        ended = [(one.tick, _left_out(one.tick) if one.run is None else ClosedRun.of(one.run)) for one in following]
        # A tick whose view's run is not closed yet looks for its end itself.
        await asyncio.gather(*(report(tick, run) for tick, run in ended if run.status is not RunStatus.RUNNING))
        async with self.database.begin() as tx:
            await ticks.remove(tx, [one.tick.workflow_run_id for one in following])
            await ticks.remove_old(tx, _FORGOTTEN)

    async def leave(self, tick: Tick) -> None:
        """Cancel the view of a tick in the generation that the tick follows, also before that begins.

        Raises StillStopping if the view's query has not ended yet.
        """
        run = await self._left(tick)
        if run is not None:
            await self.workflows.cancel(run)
            async with self.database.begin() as tx:
                if (await runs.get(tx, run.id)).status is RunStatus.RUNNING:
                    raise StillStopping
        async with self.database.begin() as tx:
            await ticks.remove(tx, [tick.workflow_run_id])

    async def _left(self, tick: Tick) -> Run | None:
        """The open run of a tick's view; None once the view is cancelled in a generation that has not begun."""
        async with self.database.begin() as tx:
            project_id = await saved_queries.get_project_id(tx, tick.saved_query_id)
            if project_id is not None:  # so that no generation gathers or begins now
                await projects.lock_project(tx, project_id)
            generation = await generations.of_tick(tx, tick.workflow_run_id)
            if generation is None:
                await ticks.remove(tx, [tick.workflow_run_id])
                return None
            run = await runs.find_in_generation(tx, generation.id, tick.saved_query_id)
            if run is None:
                await generations.cancel_view(tx, generation.id, tick.saved_query_id)
        return run if run is not None and run.status is RunStatus.RUNNING else None

    async def _decide(self, tx: Transaction, project_id: int, tick: Tick) -> Gathered:
        mine = tick.workflow_run_id
        if await runs.list_open(tx, [tick.saved_query_id]):
            await ticks.remove(tx, [mine])
            return Gathered(skipped=_IN_PROGRESS)
        waiting = await ticks.waiting(tx, project_id, mine, _LOST)
        pause = _pause(waiting)
        if pause > 0:
            return Gathered(wait_seconds=pause)
        generation = await self._gathered(tx, project_id, waiting)
        if generation is None:
            await ticks.remove(tx, [mine])
            return Gathered()
        return Gathered(generation_id=generation.id)

    async def _gathered(self, tx: Transaction, project_id: int, waiting: Sequence[WaitingTick]) -> Generation | None:
        """The generation of the views of these ticks; None for a single view, which needs none."""
        held = {run.saved_query_id for run in await runs.list_open(tx, [one.saved_query_id for one in waiting])}
        graph = await generations.graph(tx, project_id)
        due = tuple(dict.fromkeys(one.saved_query_id for one in waiting if one.saved_query_id not in held))
        older = sorted(graph.too_old(due, now()).difference(due))
        selection = Selection(views=(*due, *older))
        members = graph.members(selection)
        if len(members) <= 1:
            return None
        generation = new_generation(project_id, selection, Trigger.SCHEDULE)
        await generations.insert_new(tx, generation, None)
        following = [one.workflow_run_id for one in waiting if one.saved_query_id in due]
        await ticks.follow(tx, following, generation.id)
        return generation

    async def _start(self, generation: Generation) -> None:
        count = len(generation.selection.views)
        label = f"Scheduled refresh of {count:,} views (project {generation.project_id})"
        await self.workflows.start_generation(generation, label, "Started by the schedules of its views.")


def _pause(waiting: Sequence[WaitingTick]) -> float:
    """How long to wait for more ticks: until none has come for a moment, or the first has waited for long."""
    if not waiting or waiting[0].seconds >= _MOST_SECONDS:
        return 0
    return max(0, _QUIET_SECONDS - waiting[-1].seconds)


def _left_out(tick: Tick) -> ClosedRun:
    return ClosedRun(run_id=tick.workflow_run_id, status=RunStatus.SKIPPED, detail=_LEFT_OUT)
