"""The checks of a generation's members, and what they read beside the results that they are made on.

A check reads what the generation writes, where it refreshes that too: so two results are checked against each other
before readers see either. But a result is not checked against one that is computed from it: of that, the current
version is read. So it is by a check that only warns: for that, no view waits for another one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID

from orchestrator.catalog import checks, run_inputs
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.run_inputs import NamedInputs
from orchestrator.model.check import PlannedCheck, Severity
from orchestrator.model.errors import InputMissing
from orchestrator.model.names import name_key
from orchestrator.model.run import MemberRelation, Relation, RunPlan, TableCheckPlan
from orchestrator.services.pinned_sources import GenerationPins

Plan = TypeVar("Plan", RunPlan, TableCheckPlan)


async def with_checks(tx: Transaction, plans: Sequence[RunPlan]) -> list[RunPlan]:
    """The plans with the enabled checks of their views. The plans are those of all members of a generation."""
    tables = {one.id for plan in plans for one in plan.relations if one.kind == "source"}
    planned = await checks.planned(tx, [*(plan.saved_query_id for plan in plans), *tables])
    if not planned:
        return list(plans)
    of_views = [check for plan in plans for check in planned.get(plan.saved_query_id, ())]
    inputs = await _inputs(tx, plans[0].project_id, of_views)
    order = _Order(plans)
    found: list[RunPlan] = []
    for plan in plans:
        own = _chosen(plan.name, planned.get(plan.saved_query_id, ()), inputs)
        relations, members = _apart(plan, own, order)
        update = {
            "checks": own.checks,
            "check_relations": relations,
            "check_members": members,
            "checked_tables": tuple(one.id for one in plan.relations if one.id in tables and one.id in planned),
        }
        found.append(plan.model_copy(update=update))
    return found


class CheckInputs(NamedTuple):
    """Some checks of one view or source table, and the relations that they need beside it, in dependency order.

    A check that reads something that was deleted has that as its fault, and keeps no other from being made.
    """

    checks: tuple[PlannedCheck, ...]
    relations: tuple[Relation, ...]


async def of_table(tx: Transaction, project_id: int, name: str, some: Sequence[PlannedCheck]) -> CheckInputs:
    """The checks of a source table of that name."""
    return _chosen(name, some, await _inputs(tx, project_id, some))


async def attached(plan: Plan, pins: GenerationPins) -> Plan:
    """The plan with the pinned files of the source tables that it reads.

    A table without files that only checks read is left out, and they have that as their fault. Raises InputMissing for
    another one.
    """
    made = list(plan.checks)
    relations: list[Relation] = []
    for one in plan.check_relations:
        try:
            relations += await pins.attach([one])
        except InputMissing as error:
            fault = {"fault": error.message}
            made = [check.model_copy(update=fault) if one.name in check.needs else check for check in made]
    own = await pins.attach(plan.relations)
    return plan.model_copy(update={"relations": own, "checks": tuple(made), "check_relations": tuple(relations)})


def _chosen(subject: str, some: Iterable[PlannedCheck], inputs: Mapping[str, NamedInputs]) -> CheckInputs:
    """The checks of a view or table of that name. `inputs` are what its checks read, by the names' keys."""
    made: list[PlannedCheck] = []
    relations: dict[UUID, Relation] = {}
    for check in some:
        own = [inputs[key] for key in _keys(check) if key in inputs and key != name_key(subject)]
        beside = {one.id: one for each in own for one in each.relations if name_key(one.name) != name_key(subject)}
        fault = next((one.missing for one in own if one.missing is not None), None)
        made.append(check.model_copy(update={"needs": tuple(one.name for one in beside.values()), "fault": fault}))
        relations |= beside
    return CheckInputs(tuple(made), tuple(relations.values()))


async def _inputs(tx: Transaction, project_id: int, some: Iterable[PlannedCheck]) -> dict[str, NamedInputs]:
    """The inputs of these checks, by the names' keys: in one statement, so as of one moment."""
    names = {key for check in some for key in _keys(check)}
    return await run_inputs.each_named(tx, project_id, names) if names else {}


def _keys(check: PlannedCheck) -> list[str]:
    return [name_key(name) for name in (*check.reads, *filter(None, [check.to_name]))]


def _apart(plan: RunPlan, own: CheckInputs, order: "_Order") -> tuple[tuple[Relation, ...], tuple[MemberRelation, ...]]:
    """The relations of checks that the plan's query does not read, and those that the generation refreshes before it.

    Only for a check that may keep its result from readers does a view wait for another one.
    """
    known = {name_key(one.name) for one in (*plan.relations, *plan.members)}
    needed = {name for one in own.checks if one.severity is Severity.ERROR for name in one.needs}
    relations: list[Relation] = []
    members: list[MemberRelation] = []
    for relation in own.relations:
        if name_key(relation.name) in known:
            continue
        run_id = order.run_that_may_come_first(plan, relation) if relation.name in needed else None
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
