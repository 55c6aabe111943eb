"""Binds the checks that a change states of views and source tables, over these as they are after the change.

A check is bound if it is new or changed, or if the columns of what it reads may be others after the change.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from orchestrator.catalog.definitions import StoredTable, StoredView
from orchestrator.engines.base import QueryAnalyzer, StudiedQuery
from orchestrator.engines.check_statements import AGAINST_CURRENT, failing_rows
from orchestrator.model.change_plan import Kind, Problem
from orchestrator.model.check import Assertion, CheckType
from orchestrator.model.check_definition import CheckDefinition
from orchestrator.model.errors import InvalidQuery
from orchestrator.model.names import name_key, quoted
from orchestrator.services.change_binding import statement_after, tables_after
from orchestrator.services.change_proposal import Proposal
from orchestrator.services.check_changes import NO_CHECKS, problem_of
from orchestrator.services.column_binding import ColumnBinder, Statement
from orchestrator.services.studied_statements import study_each, with_name_explained

# The key of a view or a source table, and the place of one of its checks.
Place = tuple[str, int]


class BoundChecks(NamedTuple):
    """The problems of checks, and the names that those of them read which a `custom_sql` is."""

    problems: list[Problem]
    reads: Mapping[Place, tuple[str, ...]]


class CheckBinder(NamedTuple):
    """Binds the checks of every project."""

    engine: QueryAnalyzer
    binder: ColumnBinder

    async def bind(self, project_id: int, proposal: Proposal, causes: Collection[str]) -> BoundChecks:
        """Bind the checks that a change concerns.

        `causes` are views and tables that have a problem themselves: a check of one that is computed from such a view
        or table has none of its own.
        """
        asked = dict(_concerned(proposal))
        statements = {place: _statement(proposal, place, check) for place, check in asked.items()}
        problems: list[Problem] = []
        reads: dict[Place, tuple[str, ...]] = {}
        for place, studied in (await study_each(self.engine, project_id, statements)).items():
            error = self._misread(proposal, place, asked[place], studied)
            if error is not None:
                problems.append(_problem(proposal, place, asked[place], error))
            elif isinstance(studied, StudiedQuery):
                reads[place] = studied.references
        bound = await self._bound(project_id, proposal, {place: statements[place] for place in reads}, reads)
        for place, error in bound.items():
            keys = {place[0], *map(name_key, reads[place])}
            if not (keys | proposal.graph.above(keys)) & {*causes}:
                found = await with_name_explained(self.engine, project_id, proposal, statements[place], error)
                problems.append(_problem(proposal, place, asked[place], found))
        problems.sort(key=lambda one: (name_key(one.name), one.check or 0))
        return BoundChecks(problems, {place: _others(place, reads[place]) for place in reads if _is_sql(asked[place])})

    def _misread(
        self, proposal: Proposal, place: Place, check: CheckDefinition, studied: StudiedQuery | InvalidQuery
    ) -> InvalidQuery | None:
        """Why a check may not read what it reads, or has no statement; None if it may."""
        if isinstance(studied, InvalidQuery):
            return studied
        allowed = {place[0], name_key(check.to or "")}
        other = next((one for one in studied.references if name_key(one) not in allowed), None)
        if other is None or _is_sql(check):
            return None
        view = proposal.name(place[0])
        return InvalidQuery(f"the condition reads {other}, and may only read {view} itself. Use custom_sql.")

    async def _bound(
        self,
        project_id: int,
        proposal: Proposal,
        statements: Mapping[Place, str],
        reads: Mapping[Place, tuple[str, ...]],
    ) -> dict[Place, InvalidQuery]:
        """The errors of the statements that do not bind."""
        if not statements:
            return {}
        keys = {name_key(name) for names in reads.values() for name in names}
        views = (keys | proposal.graph.above(keys)) & proposal.graph.reads.keys()
        # No view has a name with a space, so these names are free.
        own = {
            f"check {number} of {key}": Statement(
                f"check {number} of {key}", sql, tuple(map(name_key, reads[key, number]))
            )
            for (key, number), sql in statements.items()
        }
        texts = {key: statement_after(proposal, key) for key in views}
        found = await self.binder.bind(project_id, texts | own, tables_after(proposal))
        places = {f"check {number} of {key}": (key, number) for key, number in statements}
        return {place: one for name, place in places.items() if isinstance(one := found[name], InvalidQuery)}


def _concerned(proposal: Proposal) -> Iterator[tuple[Place, CheckDefinition]]:
    """The checks to bind, of the views and source tables that the change states."""
    found = proposal.differences
    touched = {*proposal.affected, *proposal.table_columns, *found.deleted_views, *found.deleted_tables}
    subjects: dict[str, StoredView | StoredTable] = {**proposal.stored.tables, **proposal.stored.views}
    for key, subject in found.stated.items():
        differences = found.checks.get(key, NO_CHECKS)
        known = {one.definition.key: one.reads for one in subjects[key].checks} if key in subjects else {}
        for number, check in enumerate(subject.checks):
            place = (key, number)
            if check.check_type in AGAINST_CURRENT or place in found.bad_checks:
                continue
            reads = {key, *map(name_key, (*known.get(check.key, ()), check.to or ""))}
            if number in differences.numbers or reads & touched:
                yield place, check


def _statement(proposal: Proposal, place: Place, check: CheckDefinition) -> str:
    assertion = Assertion(check_type=check.check_type, column_name=check.column_name, config=check.config)
    return failing_rows(assertion.plain(check.to), quoted(proposal.name(place[0])))


def _problem(proposal: Proposal, place: Place, check: CheckDefinition, error: InvalidQuery) -> Problem:
    kind = Kind.VIEW if place[0] in proposal.graph.reads else Kind.TABLE
    problem = problem_of(kind, proposal.name(place[0]), place[1], f"The check cannot be run: {error.message}")
    # Only the statement of a custom_sql is one that its author has seen.
    return problem.model_copy(update={"position": error.position}) if _is_sql(check) else problem


def _others(place: Place, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(one for one in names if name_key(one) != place[0])


def _is_sql(check: CheckDefinition) -> bool:
    return check.check_type is CheckType.CUSTOM_SQL
