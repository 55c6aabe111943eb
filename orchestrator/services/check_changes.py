"""Compares the checks of views and source tables that a client states with those that they have."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID

from orchestrator.catalog.check_definitions import StoredCheck
from orchestrator.catalog.definitions import StoredDefinitions, StoredTable, StoredView
from orchestrator.engines.check_statements import AGAINST_CURRENT
from orchestrator.model.change_plan import Action, Kind, PlannedCheckChange, Problem
from orchestrator.model.check import LARGEST_SUBJECT_BYTES, MOST_OF_SUBJECT, size_of
from orchestrator.model.check_definition import CheckDefinition
from orchestrator.model.definitions import TableDefinition, ViewDefinition
from orchestrator.model.errors import InvalidCheck
from orchestrator.model.names import name_key

# The id of the view or table of a name after the change, NEW if it has none yet; None if there is none.
Resolve = Callable[[str], UUID | None]
NEW = UUID(int=0)
D = TypeVar("D", ViewDefinition, TableDefinition)
NO_VERSION_BEFORE = "A source table has no version before, with which it could be compared."


class ChangedCheck(NamedTuple):
    """A check that the change changes. `number` is its place among the checks that are stated with it."""

    number: int
    before: StoredCheck
    after: CheckDefinition
    fields: tuple[str, ...]


class CheckDifferences(NamedTuple):
    """How the checks of a view or a source table differ. New ones are given with their place among those stated."""

    added: tuple[tuple[int, CheckDefinition], ...]
    changed: tuple[ChangedCheck, ...]
    removed: tuple[StoredCheck, ...]

    def __bool__(self) -> bool:
        """Whether they differ."""
        return any(self)

    @property
    def numbers(self) -> set[int]:
        """The places of those that are new or changed."""
        return {number for number, _ in self.added} | {one.number for one in self.changed}

    def planned(self) -> Iterator[PlannedCheckChange]:
        """The differences as a plan shows them."""
        for _, new in self.added:
            yield PlannedCheckChange(action=Action.CREATE, label=new.label)
        for one in self.changed:
            yield PlannedCheckChange(action=Action.UPDATE, label=one.after.label, fields=one.fields)
        for gone in self.removed:
            yield PlannedCheckChange(action=Action.DELETE, label=gone.definition.label)


NO_CHECKS = CheckDifferences((), (), ())


def compare_checks(
    before: Sequence[StoredCheck], after: Sequence[CheckDefinition], resolve: Resolve
) -> CheckDifferences:
    """How the checks of a view or a source table differ from those stated.

    A stored check stays what it is if one of its name is stated, or else one that asserts the same. So it keeps its
    results.
    """
    named = {_name(one.definition): one for one in before if one.definition.name}
    found = {number: named.pop(_name(one)) for number, one in enumerate(after) if one.name and _name(one) in named}
    taken = {one.check.id for one in found.values()}
    equal = {one.definition.key: one for one in before if one.check.id not in taken}
    for number, one in enumerate(after):
        if number not in found and one.key in equal:
            found[number] = equal.pop(one.key)
    changed = (
        ChangedCheck(number, stored, after[number], _fields(stored, after[number], resolve))
        for number, stored in sorted(found.items())
    )
    kept = {one.check.id for one in found.values()}
    return CheckDifferences(
        added=tuple((number, one) for number, one in enumerate(after) if number not in found),
        changed=tuple(one for one in changed if one.fields),
        removed=tuple(one for one in before if one.check.id not in kept),
    )


def _fields(stored: StoredCheck, stated: CheckDefinition, resolve: Resolve) -> tuple[str, ...]:
    fields = stored.definition.differs(stated)
    # The name that it looks into may be that of another view or table now.
    moved = stated.to is not None and resolve(name_key(stated.to)) != stored.target_id
    return ("assertion", *fields) if moved and "assertion" not in fields else fields


def usual(definition: D) -> tuple[D, list[Problem]]:
    """The definition with the configs of its checks in their usual form, and the problems of those that have none."""
    problems: list[Problem] = []
    made: list[CheckDefinition] = []
    kind = _kind(definition)
    for number, one in enumerate(definition.checks):
        try:
            made.append(one.checked())
        except InvalidCheck as error:
            made.append(one)
            problems.append(problem_of(kind, definition.name, number, error.message))
        if kind is Kind.TABLE and one.check_type in AGAINST_CURRENT:
            problems.append(problem_of(kind, definition.name, number, NO_VERSION_BEFORE))
    first: dict[str, int] = {}
    for number, one in enumerate(made):
        if one.key in first:
            message = f"Another check of this {kind.value} asserts the same."
            problems.append(problem_of(kind, definition.name, number, message))
        first.setdefault(one.key, number)
    if len(made) > MOST_OF_SUBJECT:
        message = f"A {kind.value} has {MOST_OF_SUBJECT} checks at the most."
        problems.append(problem_of(kind, definition.name, MOST_OF_SUBJECT, message))
    elif sum(size_of(one.config) for one in made) > LARGEST_SUBJECT_BYTES:
        message = f"The configs of all checks of a {kind.value} may take {LARGEST_SUBJECT_BYTES:,} bytes of JSON."
        problems.append(problem_of(kind, definition.name, 0, message))
    return definition.model_copy(update={"checks": tuple(made)}) if made else definition, problems


def name_problems(
    stored: StoredDefinitions, stated: Mapping[str, ViewDefinition | TableDefinition], deleted: Iterable[str]
) -> Iterator[Problem]:
    """The checks whose name another check of the project has after the change."""
    gone = {*stated, *deleted}
    subjects: dict[str, StoredView | StoredTable] = {**stored.tables, **stored.views}
    owners = {
        _name(one.definition): subject.definition.name
        for key, subject in subjects.items()
        if key not in gone
        for one in subject.checks
        if one.definition.name
    }
    for definition in stated.values():
        for number, one in enumerate(definition.checks):
            if not one.name:
                continue
            if _name(one) in owners:
                message = f"Another check of this project has the name {one.name}: one of {owners[_name(one)]}."
                yield problem_of(_kind(definition), definition.name, number, message)
            owners.setdefault(_name(one), definition.name)


def problem_of(kind: Kind, name: str, number: int, message: str) -> Problem:
    """A reason for which a check of a view or a source table cannot be as the change says."""
    return Problem(kind=kind, name=name, message=message, check=number)


def _kind(definition: ViewDefinition | TableDefinition) -> Kind:
    return Kind.VIEW if isinstance(definition, ViewDefinition) else Kind.TABLE


def _name(check: CheckDefinition) -> str:
    return (check.name or "").lower()
