"""A generation begins: its runs are opened, and their plans stored."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.catalog import generations, run_plans, runs
from orchestrator.container import Container
from orchestrator.model.errors import StoreUnavailable
from orchestrator.model.generation import Begun, GenerationRequest, Selection
from orchestrator.model.run import Trigger
from orchestrator.services.change_detection import ChangeDetector
from orchestrator.services.definitions import ViewUpdate
from orchestrator.services.generation_start import new_generation
from orchestrator.services.pinned_sources import PinnedSources
from orchestrator.services.planning import Planner
from tests.services.conftest import Project
from tests.services.test_views import create


@dataclass(frozen=True)
class FailsOnce(Planner):
    """A planner whose first attempt ends after it has opened the runs."""

    failures: list[None]

    async def _judge(self, *arguments: Any) -> Begun:
        if self.failures:
            self.failures.pop()
            raise StoreUnavailable("The disk is away.")
        return await super()._judge(*arguments)


async def test_a_view_that_is_edited_while_its_generation_begins_is_run_as_the_revision_that_it_has_then(
    container: Container, project: Project
) -> None:
    services = container.services
    views = [await create(container, project, name) for name in ("v", "w")]
    for view in views:
        await services.views.materialize(project.id, view.id, None, project.user, run=False)
    selection = Selection(views=tuple(view.id for view in views))
    generation = new_generation(project.id, selection, Trigger.API)
    async with container.database.begin() as tx:
        await generations.insert_new(tx, generation, project.user.id)
    planner = FailsOnce(
        database=container.database,
        sync=container.run_sync,
        detector=ChangeDetector(container.database, container.store, container.engine.version),
        sources=PinnedSources(container.database, container.source_lister),
        limits=container.settings.limits,
        query_timeout=container.settings.query_timeout,
        failures=[None],
    )
    request, workflow_run_id = GenerationRequest(generation_id=generation.id, project_id=project.id), uuid4()
    with pytest.raises(StoreUnavailable):
        await planner.begin_many(request, workflow_run_id)
    edit = ViewUpdate(name="v", query={"kind": "HogQLQuery", "query": "SELECT 2 AS n"}, soft_update=True)
    # Not as the API does it, which would find that this generation has no workflow, and end it.
    _, edited = await services.views._definitions.create_or_update(project.id, edit, project.user)
    begun = await planner.begin_many(request, workflow_run_id)
    assert len(begun.members) == 2
    async with container.database.begin() as tx:
        plans = {one.plan.saved_query_id: one.plan for one in await run_plans.load_all(tx, generation.id)}
        opened = {run.saved_query_id: run for run in await runs.list_open_of_generation(tx, generation.id)}
        plan = plans[edited.id]
        assert (plan.sql, plan.revision_id) == ("SELECT 2 AS n", edited.revision.id)
        assert opened[edited.id].revision_id == edited.revision.id
        for view in views:
            await runs.cancel_running(tx, view.id, "no more", "reverted")
