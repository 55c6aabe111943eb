"""The checks of a generation's members, and what they read beside the results that they are made on.

A check reads what the generation writes, where it refreshes that too: so two results are checked against each other
before readers see either. But a result is not checked against one that is computed from it: of that, the current
version is read.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

from orchestrator.catalog import checks, run_inputs
from orchestrator.catalog.database import Transaction
from orchestrator.model.check import PlannedCheck
from orchestrator.model.errors import InputMissing
from orchestrator.model.names import name_key
from orchestrator.model.run import MemberRelation, Relation, RunPlan


async def with_checks(tx: Transaction, plans: Sequence[RunPlan]) -> list[RunPlan]:
    """The plans with the enabled checks of their views. The plans are those of all members of a generation."""
    tables = {one.id for plan in plans for one in plan.relations if one.kind == "source"}
    planned = await checks.planned(tx, [*(plan.saved_query_id for plan in plans), *tables])
    if not planned:
        return list(plans)
    order = _Order(plans)
    found: list[RunPlan] = []
    for plan in plans:
        own = planned.get(plan.saved_query_id, [])
        relations, members = await _read_by(tx, plan, own, order)
        update = {
            "checks": tuple(own),
            "check_relations": relations,
            "check_members": members,
            "checked_tables": tuple(one.id for one in plan.relations if one.id in tables and one.id in planned),
        }
        found.append(plan.model_copy(update=update))
    return found


async def _read_by(
    tx: Transaction, plan: RunPlan, own: Iterable[PlannedCheck], order: "_Order"
) -> tuple[tuple[Relation, ...], tuple[MemberRelation, ...]]:
    """The relations of the checks of a plan that its query does not read, and those that the generation refreshes."""
    names = {name for check in own for name in (*check.reads, *filter(None, [check.to_name]))}
    known = {name_key(one.name) for one in (*plan.relations, *plan.members)} | {name_key(plan.name)}
    names = {name for name in names if name_key(name) not in known}
    if not names:
        return (), ()
    try:
        found = await run_inputs.named(tx, plan.project_id, names)
    except InputMissing:
        return (), ()  # the check that reads it says so
    relations: list[Relation] = []
    members: list[MemberRelation] = []
    for relation in found:
        if name_key(relation.name) in known:
            continue
        run_id = order.run_that_may_come_first(plan, relation)
        if run_id is None:
            relations.append(relation)
        else:
            current = relation if relation.kind == "snapshot" else None
            members.append(MemberRelation(run_id=run_id, name=relation.name, current=current))
    return tuple(relations), tuple(members)


class _Order:
    """The order in which the members of a generation wait for one another. It must have no cycle."""

    def __init__(self, plans: Iterable[RunPlan]) -> None:
        self._runs = {plan.saved_query_id: plan.run_id for plan in plans}
        self._waits: dict[UUID, set[UUID]] = {plan.run_id: {one.run_id for one in plan.members} for plan in plans}

    def run_that_may_come_first(self, plan: RunPlan, relation: Relation) -> UUID | None:
        """The run of a member that the plan's run waits for from now on. None if it cannot, or if it is no member."""
        run_id = None if relation.kind == "source" else self._runs.get(relation.id)
        if run_id is None or run_id == plan.run_id or self._waits_for(run_id, plan.run_id):
            return None
        self._waits[plan.run_id].add(run_id)
        return run_id

    def _waits_for(self, one: UUID, other: UUID) -> bool:
        seen: set[UUID] = set()
        waiting = [one]
        while waiting:
            for run_id in self._waits.get(waiting.pop(), ()):
                if run_id == other:
                    return True
                if run_id not in seen:
                    seen.add(run_id)
                    waiting.append(run_id)
        return False
