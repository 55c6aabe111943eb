"""Compares the checks of views that a client states with those that the views have."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from orchestrator.catalog.check_definitions import StoredCheck
from orchestrator.catalog.definitions import StoredDefinitions
from orchestrator.model.change_plan import Action, Kind, PlannedCheckChange, Problem
from orchestrator.model.check import LARGEST_SUBJECT_BYTES, MOST_OF_SUBJECT, size_of
from orchestrator.model.check_definition import CheckDefinition
from orchestrator.model.definitions import ViewDefinition
from orchestrator.model.errors import InvalidCheck
from orchestrator.model.names import name_key

# The id of the view or table of a name after the change, NEW if it has none yet; None if there is none.
Resolve = Callable[[str], UUID | None]
NEW = UUID(int=0)


class ChangedCheck(NamedTuple):
    """A check that the change changes. `number` is its place among the checks that are stated for the view."""

    number: int
    before: StoredCheck
    after: CheckDefinition
    fields: tuple[str, ...]


class ViewChecks(NamedTuple):
    """How the checks of a view differ. New ones are given with their place among those that are stated."""

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


NO_CHECKS = ViewChecks((), (), ())


def compare_checks(before: Sequence[StoredCheck], after: Sequence[CheckDefinition], resolve: Resolve) -> ViewChecks:
    """How the checks of a view differ from those stated.

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
    return ViewChecks(
        added=tuple((number, one) for number, one in enumerate(after) if number not in found),
        changed=tuple(one for one in changed if one.fields),
        removed=tuple(one for one in before if one.check.id not in kept),
    )


def _fields(stored: StoredCheck, stated: CheckDefinition, resolve: Resolve) -> tuple[str, ...]:
    fields = stored.definition.differs(stated)
    # The name that it looks into may be that of another view or table now.
    moved = stated.to is not None and resolve(name_key(stated.to)) != stored.target_id
    return ("assertion", *fields) if moved and "assertion" not in fields else fields


def usual(view: ViewDefinition) -> tuple[ViewDefinition, list[Problem]]:
    """The view with the configs of its checks in their usual form, and the problems of those that have none."""
    problems: list[Problem] = []
    made: list[CheckDefinition] = []
    for number, one in enumerate(view.checks):
        try:
            made.append(one.checked())
        except InvalidCheck as error:
            made.append(one)
            problems.append(problem_of(view.name, number, error.message))
    first: dict[str, int] = {}
    for number, one in enumerate(made):
        if one.key in first:
            problems.append(problem_of(view.name, number, "Another check of this view asserts the same."))
        first.setdefault(one.key, number)
    if len(made) > MOST_OF_SUBJECT:
        problems.append(problem_of(view.name, MOST_OF_SUBJECT, f"A view has {MOST_OF_SUBJECT} checks at the most."))
    elif sum(size_of(one.config) for one in made) > LARGEST_SUBJECT_BYTES:
        message = f"The configs of all checks of a view may take {LARGEST_SUBJECT_BYTES:,} bytes of JSON."
        problems.append(problem_of(view.name, 0, message))
    return view.model_copy(update={"checks": tuple(made)}) if made else view, problems


def name_problems(
    stored: StoredDefinitions, views: Mapping[str, ViewDefinition], deleted: Iterable[str]
) -> Iterator[Problem]:
    """The checks whose name another check of the project has after the change."""
    gone = {*views, *deleted}
    owners = {
        _name(one.definition): view.definition.name
        for key, view in stored.views.items()
        if key not in gone
        for one in view.checks
        if one.definition.name
    }
    owners |= stored.table_checks
    for view in views.values():
        for number, one in enumerate(view.checks):
            if not one.name:
                continue
            if _name(one) in owners:
                message = f"Another check of this project has the name {one.name}: one of {owners[_name(one)]}."
                yield problem_of(view.name, number, message)
            owners.setdefault(_name(one), view.name)


def problem_of(view: str, number: int, message: str) -> Problem:
    """A reason for which a check of a view cannot be as the change says."""
    return Problem(kind=Kind.VIEW, name=view, message=message, check=number)


def _name(check: CheckDefinition) -> str:
    return (check.name or "").lower()
