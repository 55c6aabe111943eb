"""The plans of a try: what the edited query reads, and the views that read the edited one, as of one moment."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from orchestrator.catalog import (
    generations,
    projects,
    reads,
    run_inputs,
    saved_queries,
    snapshots,
    tries,
    views_to_run,
)
from orchestrator.catalog.database import Database, Transaction
from orchestrator.catalog.views_to_run import ViewToRun
from orchestrator.engines.base import ClusterAnalyzer, QueryAnalyzer
from orchestrator.model.base import now
from orchestrator.model.edit_try import MOST_MEMBERS, MOST_OF_A_PROJECT, MOST_OF_A_VIEW, EditTry, TryStatus
from orchestrator.model.engine import QueryText
from orchestrator.model.errors import (
    InputMissing,
    InputsChanging,
    Invalid,
    InvalidQuery,
    NotFound,
    NotMaterialized,
    PlanTooLarge,
    TooManyTries,
)
from orchestrator.model.generation import Direction, Selection
from orchestrator.model.principal import User
from orchestrator.model.run import Relation, RunPlan, Shape, Trigger
from orchestrator.model.saved_query import SavedQuery
from orchestrator.services.check_plans import with_checks
from orchestrator.services.definitions import refuse_cycle
from orchestrator.services.planning import LARGEST_PLAN_BYTES, with_inputs
from orchestrator.services.query_analysis import AnalyzedQuery, QueryAnalysis, is_stale

LASTS = timedelta(days=1)
_ATTEMPTS = 5


class TryPlanner:
    """Plans and stores tries. Their limits are decided by the worker that begins them."""

    def __init__(self, database: Database, engine: QueryAnalyzer, cluster: ClusterAnalyzer | None) -> None:
        self._database = database
        self._analysis = QueryAnalysis(database, engine, cluster)

    async def store(
        self, project_id: int, saved_query_id: UUID, edited: dict[str, Any], user: User, *, descendants: bool
    ) -> tuple[SavedQuery, EditTry]:
        """Store a try of an edited query of a view; returns it with the view as it is.

        With `descendants`, the materialized views that read the view are its members, at any distance. Raises NotFound,
        NotMaterialized, InvalidQuery, TooManyTries, Invalid for too many members, or InputsChanging.
        """
        for _ in range(_ATTEMPTS):
            analyzed = await self._analysis.analyze(project_id, edited)
            async with self._database.begin() as tx:
                await projects.lock_project(tx, project_id)
                if await is_stale(tx, project_id, analyzed):
                    continue
                view = await saved_queries.find(tx, project_id, saved_query_id)
                if view is None:
                    raise NotFound
                if not view.is_materialized:
                    raise NotMaterialized
                await refuse_cycle(tx, view, analyzed.inputs)
                await _refuse_too_many(tx, view)
                edit = _new_try(view, analyzed, user)
                new = [(edit, _plan(view, edit, analyzed, await _relations(tx, project_id, analyzed)))]
                if descendants:
                    new += await _members(tx, view, edit)
                plans = await _checked(tx, [plan for _, plan in new])
                new = [(one, plan) for (one, _), plan in zip(new, plans, strict=True)]
                if not _are_of_one_moment(plans):
                    continue
                read = {one.snapshot_id for plan in plans for one in _read_by(plan) if one.kind == "snapshot"}
                if not await reads.begin(tx, edit.id, project_id, read, client_query_id=None, lasts=LASTS):
                    continue
                return view, await tries.insert_new(tx, new, LASTS)
        raise InputsChanging


async def _refuse_too_many(tx: Transaction, view: SavedQuery) -> None:
    of_view, of_project = await tries.count_open(tx, view.project_id, view.id)
    if of_view >= MOST_OF_A_VIEW:
        raise TooManyTries(f"This view has {of_view} tries, and may have no more. Forget or promote one first.")
    if of_project >= MOST_OF_A_PROJECT:
        raise TooManyTries(f"This project has {of_project} tries, and may have no more. Forget some of them first.")


async def _relations(tx: Transaction, project_id: int, analyzed: AnalyzedQuery) -> tuple[Relation, ...]:
    names = [one.name for one in analyzed.inputs]
    try:
        return await run_inputs.named(tx, project_id, names) if names else ()
    except InputMissing as error:
        raise InvalidQuery(f"Invalid query: {error.message}", attr="query") from None


async def _members(tx: Transaction, view: SavedQuery, edit: EditTry) -> list[tuple[EditTry, RunPlan]]:
    """The materialized views that read the edited one, each after those that it reads, with their plans."""
    graph = await generations.graph(tx, view.project_id)
    below = Selection(views=(view.id,), direction=Direction.DOWNSTREAM)
    found = [one for one in graph.members(below) if one != view.id]
    if 1 + len(found) > MOST_MEMBERS:
        raise Invalid(
            f"{len(found):,} materialized views read this one; an edit can be tried with {MOST_MEMBERS - 1:,} of them.",
            attr="descendants",
        )
    # Locked: so all that is read of a view belongs to the same revision.
    views = await views_to_run.load(tx, found)
    inputs = await run_inputs.pinned(tx, [view.id, *found])
    ids = {view.id: edit.id} | {one: uuid4() for one in found}
    members: list[tuple[EditTry, RunPlan]] = []
    for position, one in enumerate(found, start=1):
        member = _new_member(views[one], edit, ids, position)
        # Without the published versions of other members: what is published later must not be read in their place.
        read = inputs[one]._replace(members=tuple((view, name, None) for view, name, _ in inputs[one].members))
        plan = _plan_of(member, views[one].name, views[one].text, views[one].translated)
        members.append((member, with_inputs(plan, read, ids)))
    return members


async def _checked(tx: Transaction, plans: Sequence[RunPlan]) -> list[RunPlan]:
    """The plans with the checks of their views, which a result must pass to be promoted."""
    found = await with_checks(tx, plans)
    checked = [plan.saved_query_id for plan in found if plan.checks]
    current = await snapshots.current(tx, checked) if checked else {}
    shapes = {view: Shape.of(one.snapshot) for view, one in current.items()}
    return [plan.model_copy(update={"current": shapes.get(plan.saved_query_id)}) for plan in found]


def _read_by(plan: RunPlan) -> tuple[Relation, ...]:
    return (*plan.relations, *plan.check_relations)


def _are_of_one_moment(plans: Sequence[RunPlan]) -> bool:
    """Whether all plans read the same version of each input: one may be published between two statements."""
    seen: dict[UUID, Relation] = {}
    return all(seen.setdefault(one.id, one) == one for plan in plans for one in _read_by(plan))


def _new_try(view: SavedQuery, analyzed: AnalyzedQuery, user: User) -> EditTry:
    is_changed = analyzed.text != view.revision.text
    moment = now()
    return EditTry(
        id=uuid4(),
        project_id=view.project_id,
        saved_query_id=view.id,
        status=TryStatus.RUNNING,
        query=analyzed.query,
        revision_id=uuid4() if is_changed else view.revision.id,
        base_revision_id=view.revision.id,
        base_snapshot_id=view.current_snapshot.id if view.current_snapshot else None,
        created_by=user.id,
        created_at=moment,
        expires_at=moment + LASTS,
    )


def _new_member(view: ViewToRun, edit: EditTry, ids: Mapping[UUID, UUID], position: int) -> EditTry:
    return edit.model_copy(
        update={
            "id": ids[view.id],
            "saved_query_id": view.id,
            "query": {"query": view.sql},
            "revision_id": view.revision_id,
            "base_revision_id": view.revision_id,
            "base_snapshot_id": view.current_snapshot_id,
            "member_of": edit.id,
            "position": position,
        }
    )


def _plan(view: SavedQuery, edit: EditTry, analyzed: AnalyzedQuery, relations: tuple[Relation, ...]) -> RunPlan:
    """The plan of the edited query. Raises PlanTooLarge as InvalidQuery."""
    plan = _plan_of(edit, view.name, analyzed.text, analyzed.translated).model_copy(update={"relations": relations})
    if len(plan.model_dump_json().encode()) > LARGEST_PLAN_BYTES:
        raise InvalidQuery(PlanTooLarge().message, attr="query")
    return plan


def _plan_of(edit: EditTry, name: str, text: QueryText, translated: str | None) -> RunPlan:
    return RunPlan(
        run_id=edit.id,
        generation_id=edit.root,
        project_id=edit.project_id,
        saved_query_id=edit.saved_query_id,
        revision_id=edit.revision_id,
        name=name,
        sql=text.sql,
        engine=text.engine,
        dialect=text.dialect,
        translated=translated,
        relations=(),
        timeout_seconds=0,
        trigger=Trigger.API,
        full_refresh=True,
    )
