"""The members of a generation, from their plans: which wait for which, and which are published together."""

from collections.abc import Iterable, Iterator, Mapping
from graphlib import TopologicalSorter
from uuid import UUID

from orchestrator.catalog.run_plans import StoredPlan
from orchestrator.model.check import not_published
from orchestrator.model.file_patterns import database_of, is_database_pattern
from orchestrator.model.generation import DatabaseInput, MemberPhase, MemberPlan
from orchestrator.model.run import MemberRelation, Relation, RunPlan, SnapshotRelation, SourceRelation
from orchestrator.model.snapshot import Snapshot


def inputs_first(plans: Iterable[RunPlan]) -> list[RunPlan]:
    """The plans, each after those of the members that it reads."""
    return [plan for level in levels(plans) for plan in level]


def levels(plans: Iterable[RunPlan]) -> Iterator[list[RunPlan]]:
    """The plans in lists, each of which reads nothing of its own list or of a later one."""
    by_run = {plan.run_id: plan for plan in plans}
    sorter = TopologicalSorter(
        {run: [one.run_id for one in waited_for(plan) if one.run_id in by_run] for run, plan in by_run.items()}
    )
    sorter.prepare()
    while sorter.is_active():
        ready = sorter.get_ready()
        yield [by_run[run] for run in ready]
        sorter.done(*ready)


def components(plans: Iterable[RunPlan]) -> dict[UUID, int]:
    """A number for each run: equal for those that are connected by what they and their checks read of the generation.

    That is members and source tables: what one of them has pinned again, all of them read again.
    """
    above: dict[UUID, UUID] = {}
    some = list(plans)
    for plan in some:
        sources = (one.id for one in (*plan.relations, *plan.check_relations) if one.kind == "source")
        for read in (*(one.run_id for one in waited_for(plan)), *sources):
            above[_root(above, read)] = _root(above, plan.run_id)
    numbers: dict[UUID, int] = {}
    return {plan.run_id: numbers.setdefault(_root(above, plan.run_id), len(numbers)) for plan in some}


def member_plans(stored: Iterable[StoredPlan]) -> tuple[MemberPlan, ...]:
    """The open members of a generation, as its workflow needs them."""
    by_run = {one.plan.run_id: one for one in stored}
    ordered = inputs_first(one.plan for one in by_run.values())
    position = {plan.run_id: number for number, plan in enumerate(ordered)}
    component = components(ordered)
    return tuple(_member(by_run[plan.run_id], position, component[plan.run_id]) for plan in ordered)


def readers_of_table(plans: Iterable[RunPlan], table_id: UUID) -> set[UUID]:
    """The runs of those plans whose queries or checks read a source table, or a member that does."""
    waiting = list(plans)
    found = {
        plan.run_id for plan in waiting if any(one.id == table_id for one in (*plan.relations, *plan.check_relations))
    }
    grown = True
    while grown:
        below = {plan.run_id for plan in waiting if any(one.run_id in found for one in waited_for(plan))}
        grown = bool(below - found)
        found |= below
    return found


def resolved(plan: RunPlan, written: Mapping[UUID, Snapshot]) -> RunPlan:
    """The plan with a version for each input that its generation refreshes: what its run wrote, or the current one.

    `written` has the former by run. The plan stays without a member that has neither.
    """
    members, check_members = (
        [
            one.current if (snapshot := written.get(one.run_id)) is None else _relation(one.name, snapshot)
            for one in some
        ]
        for some in (plan.members, plan.check_members)
    )
    return plan.model_copy(
        update={
            "relations": (*filter(None, members), *plan.relations),
            "members": (),
            "check_relations": (*filter(None, check_members), *plan.check_relations),
            "check_members": (),
        }
    )


def waited_for(plan: RunPlan) -> tuple[MemberRelation, ...]:
    """The members that a plan's query or its checks read."""
    return (*plan.members, *plan.check_members)


def _relation(name: str, snapshot: Snapshot) -> SnapshotRelation:
    return SnapshotRelation(
        name=name,
        id=snapshot.saved_query_id,
        snapshot_id=snapshot.id,
        location=snapshot.location,
        files=snapshot.files,
        columns=snapshot.columns,
    )


def _member(stored: StoredPlan, position: Mapping[UUID, int], component: int) -> MemberPlan:
    plan, written = stored.plan, stored.written
    phase = MemberPhase.WAITING if stored.unchanged_id is None else MemberPhase.UNCHANGED
    if not_published(stored.checks) is not None:
        written = None  # its step is run again, and says once more why that is not published
    return MemberPlan(
        run_id=plan.run_id,
        saved_query_id=plan.saved_query_id,
        name=plan.name,
        timeout_seconds=plan.timeout_seconds,
        parents=tuple(dict.fromkeys(position[one.run_id] for one in waited_for(plan) if one.run_id in position)),
        component=component,
        phase=phase if written is None else MemberPhase.WRITTEN,
        rows=written.rows if written else None,
        bytes=written.bytes if written else None,
        snapshot_id=written.id if written else stored.unchanged_id,
        checked_tables=plan.checked_tables,
        database_inputs=_database_inputs(plan),
    )


def _database_inputs(plan: RunPlan) -> tuple[DatabaseInput, ...]:
    found = {one.id: _database_input(one, is_needed=False) for one in database_tables(plan.check_relations)}
    found |= {one.id: _database_input(one, is_needed=True) for one in database_tables(plan.relations)}
    return tuple(found.values())


def _database_input(table: SourceRelation, *, is_needed: bool) -> DatabaseInput:
    return DatabaseInput(table_id=table.id, database=database_of(table.url_pattern), is_needed=is_needed)


def database_tables(relations: Iterable[Relation]) -> list[SourceRelation]:
    """The tables of databases among the relations."""
    return [one for one in relations if one.kind == "source" and is_database_pattern(one.url_pattern)]


def _root(above: dict[UUID, UUID], node: UUID) -> UUID:
    """The representative of a node's component, found on a path that is halved on the way."""
    while (parent := above.get(node, node)) != node:
        above[node] = above.get(parent, parent)
        node = parent
    return node
