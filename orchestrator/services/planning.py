"""The beginning of a generation: takes hold of its views, pins what they read, and finds those that need not run.

It takes all of its views or none, so that no two generations can wait for each other. The plans are stored last, in one
transaction. A beginning that is repeated before that, after the death of a worker, pins everything again: nothing was
written by then. After that it returns what is stored.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from orchestrator.aio import each
from orchestrator.catalog import (
    generations,
    projects,
    publication,
    retention,
    run_inputs,
    run_plans,
    runs,
    snapshots,
    ticks,
    views_to_run,
)
from orchestrator.catalog.database import Database, Transaction
from orchestrator.catalog.publication import Unchanged
from orchestrator.catalog.run_inputs import PinnedInputs
from orchestrator.catalog.run_plans import StoredPlan
from orchestrator.catalog.runs import NewMember
from orchestrator.catalog.views_to_run import ViewToRun
from orchestrator.model.base import now
from orchestrator.model.batches import batches
from orchestrator.model.errors import (
    InputMissing,
    InputReplaced,
    NotFound,
    NotMaterialized,
    PlanTooLarge,
    RunSuperseded,
)
from orchestrator.model.generation import (
    Begun,
    Generation,
    GenerationRequest,
    GenerationStatus,
    PublishMode,
)
from orchestrator.model.limits import Limits
from orchestrator.model.principal import ProjectLimits
from orchestrator.model.run import MemberRelation, Run, RunPlan, RunRequest, RunStatus, run_id_of
from orchestrator.reconciliation.runs import RunSync
from orchestrator.services.change_detection import UNCHANGED, ChangeDetector
from orchestrator.services.check_plans import with_checks
from orchestrator.services.early_cancels import early_ends, going_on
from orchestrator.services.member_plans import (
    components,
    database_tables,
    inputs_first,
    levels,
    member_plans,
    resolved,
    waited_for,
)
from orchestrator.services.pinned_sources import PinnedSources

# A plan goes to the process of its query as one message. It holds the SQL of every view that is evaluated inside.
LARGEST_PLAN_BYTES = 1_500_000
_MANY = 1000
# Versions that are compared at a time: their files may be in a bucket, which takes a moment to answer. Each may need a
# connection to PostgreSQL, of which a worker keeps ten for all that it does.
_AT_ONCE = 8
# The step has two minutes. To compare files that were only touched, all of them are read.
_LONGEST_COMPARISON_SECONDS = 60.0
_STALE = "The run was ended in Temporal before it could say how."
_DELETED = ("The view was deleted before this run began.", "deleted")
_REVERTED = ("The view was not materialized any more when this run began.", "reverted")


class _Hold(NamedTuple):
    """The members that a generation has taken, locked; or the workflows that hold some of them, and their open runs."""

    views: Mapping[UUID, ViewToRun] = {}
    owners: tuple[str, ...] = ()
    runs: Sequence[Run] = ()


@dataclass(frozen=True)
class Planner:
    """Begins generations. `limits` and `query_timeout` hold for queries of projects that have none of their own."""

    database: Database
    sync: RunSync
    detector: ChangeDetector
    sources: PinnedSources
    limits: Limits
    query_timeout: timedelta

    async def begin_one(
        self, request: RunRequest, workflow_id: str, workflow_run_id: UUID
    ) -> tuple[Begun, RunPlan | None]:
        """Begin a generation of one view; returns it with the plan of the view.

        There is no plan, and `held_by` is set, if a larger generation has the view. Raises NotFound if there never was
        such a view, InputReplaced if an input's snapshot was just removed, RunSuperseded if the run was ended before it
        began: also here, if its view was deleted or is not materialized any more.
        """
        while True:
            begun, plan, held = await self._begin_one(request, workflow_id, workflow_run_id)
            if begun is None:
                raise RunSuperseded
            if plan is not None:
                return await self._judge_one(begun, plan), plan
            if await self._still_hold(held):
                return begun, plan

    async def _begin_one(
        self, request: RunRequest, workflow_id: str, workflow_run_id: UUID
    ) -> tuple[Begun | None, RunPlan | None, list[Run]]:
        async with self.database.begin() as tx:
            view = (await views_to_run.load(tx, [request.saved_query_id])).get(request.saved_query_id)
            if view is None:
                raise NotFound("There is no such view.")
            if not (view.is_live and view.is_materialized):
                # A moment earlier, the delete or the revert itself would have ended the run in this way.
                await generations.ensure_single(tx, workflow_run_id, view.project_id, request, workflow_id)
                await runs.record_started(tx, request, workflow_id, workflow_run_id, generation_id=workflow_run_id)
                await runs.cancel_running(tx, view.id, *(_REVERTED if view.is_live else _DELETED))
                return None, None, []
            begun = Begun(generation_id=workflow_run_id, project_id=view.project_id)
            others = [one for one in await runs.list_open(tx, [view.id]) if one.workflow_run_id != workflow_run_id]
            held = [one for one in others if one.workflow_id != workflow_id]
            if held:
                await generations.close(tx, workflow_run_id, GenerationStatus.SKIPPED)  # if a client has recorded it
                return begun.model_copy(update={"held_by": (held[0].workflow_id,)}), None, held
            if others:
                # Temporal admits one open workflow of an id, so the start of this one proves that they have ended.
                run_id = run_id_of(workflow_run_id, view.id)
                await runs.cancel_running(tx, view.id, _STALE, "ended_outside", except_run_id=run_id)
            await generations.ensure_single(tx, workflow_run_id, view.project_id, request, workflow_id)
            run = await runs.ensure_run(
                tx, request, workflow_id, workflow_run_id, revision_id=view.revision_id, generation_id=workflow_run_id
            )
            if run.status is not RunStatus.RUNNING:
                raise RunSuperseded
            plans = await self._plan(tx, {view.id: view}, [run], full_refresh=request.full_refresh)
            await _store(tx, plans)
        members = member_plans([StoredPlan(plans[0], 0, None, None, None)])
        return begun.model_copy(update={"members": members}), plans[0], []

    async def _judge_one(self, begun: Begun, plan: RunPlan) -> Begun:
        """Mark the view as unchanged if it is, and reads tables that would be checked before its query could say so."""
        if not plan.checked_tables or plan.full_refresh:
            return begun
        unchanged = (await self._unchanged([plan])).get(plan.run_id)
        if unchanged is None:
            return begun
        async with self.database.begin() as tx:
            await run_plans.record_unchanged(tx, [(plan.run_id, unchanged, UNCHANGED)])
        members = member_plans([StoredPlan(plan, 0, None, unchanged, UNCHANGED)])
        return begun.model_copy(update={"members": members})

    async def begin_many(self, request: GenerationRequest, workflow_run_id: UUID) -> Begun:
        """Begin a generation of several views, or return it as it is stored.

        `held_by` is set, and nothing else, while other runs of its members are in progress. Raises NotMaterialized if
        it has no member any more, RunSuperseded if it was ended before it began, InputReplaced if an input's snapshot
        was just removed.
        """
        async with self.database.begin() as tx:
            # Before the rows of several views, which an edit changes too, after it has locked the project.
            await projects.lock_project(tx, request.project_id)
            generation = await generations.lock(tx, request.generation_id)
            if generation is None:
                raise RunSuperseded
            begun = Begun(
                generation_id=generation.id,
                project_id=generation.project_id,
                all_or_nothing=generation.publish is PublishMode.ALL_OR_NOTHING,
            )
            if generation.status is not GenerationStatus.RUNNING:
                if generation.started_at is None:
                    raise RunSuperseded
                return begun  # an earlier call has ended it, whose answer was lost
            hold = _Hold()
            if generation.started_at is None:
                hold = await self._take(tx, generation, workflow_run_id)
            elif stored := await run_plans.load_all(tx, generation.id):
                return begun.model_copy(update={"members": member_plans(stored)})
            plans = [] if hold.owners else await self._plan_open(tx, generation, hold.views)
        if hold.owners:
            await self._still_hold(hold.runs)
            return begun.model_copy(update={"held_by": hold.owners})
        return await self._judge(begun, generation, plans)

    async def _take(self, tx: Transaction, generation: Generation, workflow_run_id: UUID) -> _Hold:
        """Open the runs of all members that were not cancelled before, unless others hold some of them."""
        graph = await generations.graph(tx, generation.project_id)
        chosen = graph.members(generation.selection)
        views = await views_to_run.load(tx, chosen)
        members = [one for one in chosen if one in views and views[one].is_live and views[one].is_materialized]
        if not members:
            raise NotMaterialized("None of the views is materialized any more.")
        ends = early_ends(generation, graph, members)
        held = await runs.list_open(tx, members)
        if held:
            return _Hold(owners=tuple({run.workflow_id for run in held}), runs=held)
        for waiting in await generations.list_waiting(tx, generation.project_id):
            if waiting.id == generation.id:
                break  # the others were asked for later
            if set(members).difference(ends).intersection(going_on(waiting, graph)):
                return _Hold(owners=(waiting.workflow_id,))
        parents = graph.parents(members)
        times = await ticks.scheduled_times(tx, generation.id)
        new = [
            NewMember(one, views[one].revision_id, tuple(sorted(parents[one])), times.get(one), ends.get(one))
            for one in members
        ]
        await runs.open_members(tx, generation, workflow_run_id, new)
        await generations.set_started(tx, generation.id)
        return _Hold(views=views)

    async def _plan_open(
        self, tx: Transaction, generation: Generation, views: Mapping[UUID, ViewToRun]
    ) -> list[RunPlan]:
        open_runs = await runs.list_open_of_generation(tx, generation.id)
        if not views:  # they were taken by an earlier call, and may have been edited since
            views = await views_to_run.load(tx, [run.saved_query_id for run in open_runs])
            await runs.set_revisions(tx, {run.id: views[run.saved_query_id].revision_id for run in open_runs})
        return await self._plan(tx, views, open_runs, full_refresh=generation.full_refresh)

    async def _plan(
        self, tx: Transaction, views: Mapping[UUID, ViewToRun], open_runs: Sequence[Run], *, full_refresh: bool
    ) -> list[RunPlan]:
        pinned = await run_inputs.pinned(tx, [run.saved_query_id for run in open_runs])
        of_project = {view.project_id for view in views.values()}
        limits = {project: await projects.get_limits(tx, project) for project in of_project}
        run_ids = {run.saved_query_id: run.id for run in open_runs}
        plans = [
            self._plan_of(
                views[run.saved_query_id],
                run,
                pinned[run.saved_query_id],
                limits[views[run.saved_query_id].project_id],
                run_ids,
            ).model_copy(update={"full_refresh": full_refresh})
            for run in open_runs
        ]
        return await with_checks(tx, plans)

    def _plan_of(
        self, view: ViewToRun, run: Run, inputs: PinnedInputs, limits: ProjectLimits, run_ids: Mapping[UUID, UUID]
    ) -> RunPlan:
        if run.generation_id is None:
            raise RunSuperseded
        plan = RunPlan(
            run_id=run.id,
            generation_id=run.generation_id,
            project_id=view.project_id,
            saved_query_id=view.id,
            revision_id=view.revision_id,
            name=view.name,
            sql=view.sql,
            engine=view.text.engine,
            dialect=view.text.dialect,
            translated=view.translated,
            relations=(),
            timeout_seconds=limits.timeout_seconds or self.query_timeout.total_seconds(),
            limits=limits.over(self.limits),
            trigger=run.trigger,
            queued_at=run.started_at,
        )
        return with_inputs(plan, inputs, run_ids)

    async def _judge(self, begun: Begun, generation: Generation, plans: Sequence[RunPlan]) -> Begun:
        """End the components of the generation in which nothing has changed, and store the plans of all others."""
        unchanged = {} if generation.full_refresh else await self._unchanged(inputs_first(plans))
        component = components(plans)
        active = {component[plan.run_id] for plan in plans if plan.run_id not in unchanged}
        going_on = [plan for plan in plans if component[plan.run_id] in active]
        ended = [
            Unchanged(plan.run_id, plan.saved_query_id, unchanged[plan.run_id], UNCHANGED, plan.queued_at or now())
            for plan in plans
            if component[plan.run_id] not in active
        ]
        marked = [(plan.run_id, unchanged[plan.run_id], UNCHANGED) for plan in going_on if plan.run_id in unchanged]
        async with self.database.begin() as tx:
            # A client may have ended some of the runs since. Views are locked before runs, as everywhere.
            await views_to_run.lock(tx, [plan.saved_query_id for plan in plans])
            still_open = set(await runs.open_of_generation(tx, generation.id))
            going_on = [plan for plan in going_on if plan.run_id in still_open]
            ended = [one for one in ended if one.run_id in still_open]
            await _store(tx, going_on)
            await run_plans.record_unchanged(tx, [one for one in marked if one[0] in still_open])
            await publication.skip(tx, ended)
            await generations.settle(tx, [generation.id])
        stored = [StoredPlan(plan, 0, None, unchanged.get(plan.run_id), UNCHANGED) for plan in going_on]
        return begun.model_copy(update={"members": member_plans(stored), "unchanged": len(ended)})

    async def _unchanged(self, plans: Sequence[RunPlan]) -> dict[UUID, UUID]:
        """The versions of the views of a generation that need not run, by run. `plans` come after those they read."""
        found: dict[UUID, UUID] = {}
        if not plans:  # all of its members were cancelled before it began
            return found
        deadline = asyncio.get_running_loop().time() + _LONGEST_COMPARISON_SECONDS
        pins = self.sources.of(plans[0].generation_id, plans[0].project_id)

        currents: Mapping[UUID, snapshots.CurrentVersion] = {}

        async def compare(plan: RunPlan) -> None:
            current = currents[plan.saved_query_id]
            if await self.detector.find_change(resolved(plan, {}), current, pins) is None:
                found[plan.run_id] = current.snapshot.id

        for some in batches(plans, _MANY):
            async with self.database.begin() as tx:
                currents = await snapshots.current(tx, [plan.saved_query_id for plan in some])
            # Those for which there is no time are compared once more before their queries run.
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    for level in levels(plan for plan in some if plan.saved_query_id in currents):
                        await each(compare, [one for one in level if _may_be_unchanged(one, found)], most=_AT_ONCE)
        return found

    async def _still_hold(self, held: Sequence[Run]) -> bool:
        """Whether one of these runs is still open, after those whose workflow has ended were closed."""
        by_owner = {run.workflow_run_id: run for run in held}
        for run in by_owner.values():
            if (await self.sync.close_if_ended(run)).status is RunStatus.RUNNING:
                return True
        return False


def _may_be_unchanged(plan: RunPlan, unchanged: Mapping[UUID, UUID]) -> bool:
    if plan.fault or any(one.run_id not in unchanged for one in plan.members):
        return False
    return not database_tables(plan.relations)  # they are copied first, which takes longer than this step may


def with_inputs(plan: RunPlan, inputs: PinnedInputs, run_ids: Mapping[UUID, UUID]) -> RunPlan:
    """The plan with what its view reads, or with a fault if that is gone, or too large.

    `run_ids` are the runs of the members that are written with it, by view.
    """
    if inputs.missing is not None:
        return plan.model_copy(update={"fault": inputs.missing, "fault_code": InputMissing.code})
    members = tuple(
        MemberRelation(run_id=run_ids[one], name=name, current=current) for one, name, current in inputs.members
    )
    read = plan.model_copy(update={"relations": inputs.relations, "members": members})
    if len(read.model_dump_json().encode()) > LARGEST_PLAN_BYTES:
        fault = PlanTooLarge()
        return read.model_copy(update={"relations": (), "fault": fault.message, "fault_code": fault.code})
    return read


async def _store(tx: Transaction, plans: Sequence[RunPlan]) -> None:
    """Store plans, and keep the versions that they read. Raises InputReplaced."""
    read = {
        plan.run_id: [
            *(one.snapshot_id for one in (*plan.relations, *plan.check_relations) if one.kind == "snapshot"),
            *(one.current.snapshot_id for one in waited_for(plan) if one.current),
        ]
        for plan in plans
    }
    if not await retention.lease(tx, read):
        raise InputReplaced
    await run_plans.store(tx, plans)
