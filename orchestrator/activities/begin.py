"""The steps before a generation's queries: begin, and pin a source table again whose files have changed."""

from dataclasses import dataclass
from uuid import UUID

from temporalio import activity

from orchestrator.activities.heartbeat import workflow_ids
from orchestrator.catalog import run_plans, source_pins
from orchestrator.catalog.database import Database
from orchestrator.model.generation import Begun, GenerationRequest, RefreshRequest, RepinRequest
from orchestrator.model.urls import ApiUrls
from orchestrator.services.member_plans import readers_of_table
from orchestrator.services.planning import Planner
from orchestrator.temporal import contract
from orchestrator.temporal.run_page import inputs_of


@dataclass(frozen=True)
class BeginActivities:
    """Begins generations."""

    database: Database
    planner: Planner
    urls: ApiUrls

    @activity.defn(name=contract.BEGIN)
    async def begin(self, request: RefreshRequest) -> Begun:
        """Take hold of the views of a generation and pin what they read. It may be repeated.

        Raises what the planner does.
        """
        workflow_id, workflow_run_id = workflow_ids()
        if isinstance(request, GenerationRequest):
            return await self.planner.begin_many(request, workflow_run_id)
        begun, plan = await self.planner.begin_one(request, workflow_id, workflow_run_id)
        if plan is None:
            return begun
        page = inputs_of(plan, self.urls.view(plan.project_id, plan.saved_query_id), activity.info().namespace)
        return begun.model_copy(update={"page": page})

    @activity.defn(name=contract.REPIN)
    async def repin(self, request: RepinRequest) -> tuple[UUID, ...]:
        """Forget the pin of a source table and what was written from it; returns the runs that are to run again."""
        async with self.database.begin() as tx:
            stored = await run_plans.load_all(tx, request.generation_id)
            await source_pins.give_up(tx, request.generation_id, request.table_id, request.round)
            again = readers_of_table([one.plan for one in stored], request.table_id)
            await run_plans.reset(tx, again)
        return tuple(sorted(again))
