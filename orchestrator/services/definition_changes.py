"""Compares the definitions that a client states with those that a project has."""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from orchestrator.catalog.definitions import StoredDefinitions, StoredTable, StoredView
from orchestrator.model.annotation import MOST_DESCRIBED
from orchestrator.model.change_plan import Action, Kind, PlannedChange, Problem
from orchestrator.model.definitions import Change, TableDefinition, ViewDefinition
from orchestrator.model.errors import Invalid
from orchestrator.model.names import check_name, name_key
from orchestrator.model.read_options import check_pattern, check_stated, options_of
from orchestrator.model.saved_query import SyncFrequency
from orchestrator.model.source_table import AS_USUAL
from orchestrator.services.check_changes import NEW, CheckDifferences, compare_checks, name_problems, usual

_VIEW_FIELDS = ("name", "query", "description", "timing", "freshness", "max_staleness", "column_descriptions", "checks")
_TABLE_FIELDS = ("name", "format", "url_pattern", "options", "stated", "description", "column_descriptions", "checks")
# A change of these alone does not need the files.
_LABELS = {"name", "description", "column_descriptions", "checks"}


class Differences(NamedTuple):
    """All that a change changes, by the key of the name.

    `views` and `tables` are new or differ, `view_fields` and `table_fields` say in which fields; a new one is in no
    mapping of fields. `stated` are all views and tables that the change states, `checks` says how their checks differ,
    and `bad_checks` are the places of those whose config is none.
    """

    views: dict[str, ViewDefinition]
    tables: dict[str, TableDefinition]
    view_fields: dict[str, tuple[str, ...]]
    table_fields: dict[str, tuple[str, ...]]
    deleted_views: set[str]
    deleted_tables: set[str]
    unchanged: int
    problems: tuple[Problem, ...]
    stated: dict[str, ViewDefinition | TableDefinition]
    checks: dict[str, CheckDifferences]
    bad_checks: set[tuple[str, int]]

    @property
    def queries(self) -> list[str]:
        """The views that are new or whose statement differs."""
        return [key for key in self.views if "query" in self.view_fields.get(key, ("query",))]

    def planned(self, stored: StoredDefinitions) -> list[PlannedChange]:
        """How each view and table changes, without columns: tables first, deleted ones last."""
        tables = [
            _planned(Kind.TABLE, one.name, key in stored.tables, self.table_fields.get(key, _TABLE_FIELDS))
            for key, one in self.tables.items()
        ]
        views = [
            _planned(Kind.VIEW, one.name, key in stored.views, self.view_fields.get(key, _VIEW_FIELDS))
            for key, one in self.views.items()
        ]
        gone = [(Kind.VIEW, stored.views[key].definition.name) for key in sorted(self.deleted_views)]
        gone += [(Kind.TABLE, stored.tables[key].definition.name) for key in sorted(self.deleted_tables)]
        return [*tables, *views, *(PlannedChange(kind=kind, name=name, action=Action.DELETE) for kind, name in gone)]


def compare(stored: StoredDefinitions, change: Change, read_again: Collection[str] = ()) -> Differences:
    """How the change differs from what is stored. Tables that were `read_again` have other columns, so they differ."""
    problems = list(_name_problems(change))
    checked = [usual(one) for one in change.definitions.views]
    views = {name_key(view.name): view for view, _ in checked}
    checked_tables = [usual(_normal(one, problems)) for one in change.definitions.tables]
    tables = {name_key(table.name): table for table, _ in checked_tables}
    bad = [one for some in (checked, checked_tables) for _, found in some for one in found]
    gone_views, gone_tables = _deleted(stored, change, views, tables, problems)
    kept_views, kept_tables = stored.views.keys() - gone_views, stored.tables.keys() - gone_tables
    problems += [_taken(Kind.VIEW, views[key].name, Kind.TABLE) for key in views.keys() & kept_tables]
    problems += [_taken(Kind.TABLE, tables[key].name, Kind.VIEW) for key in tables.keys() & kept_views]
    stated: dict[str, ViewDefinition | TableDefinition] = {**tables, **views}
    problems += [*bad, *name_problems(stored, stated, gone_views | gone_tables)]
    ids = {key: stored.views[key].id for key in kept_views} | {key: stored.tables[key].id for key in kept_tables}
    ids |= dict.fromkeys({*views, *tables} - ids.keys(), NEW)
    subjects: dict[str, StoredView | StoredTable] = {**stored.tables, **stored.views}
    before = {key: one.checks for key, one in subjects.items()}
    checks = {key: compare_checks(before.get(key, ()), one.checks, ids.get) for key, one in stated.items()}
    view_fields = {
        key: _view_fields(stored.views[key], one, bool(checks[key]))
        for key, one in views.items()
        if key in stored.views
    }
    table_fields = {
        key: _table_fields(stored.tables[key], one, bool(checks[key]))
        for key, one in tables.items()
        if key in stored.tables
    }
    table_fields |= {key: ("columns",) for key in read_again if not table_fields.get(key, ("new",))}
    same = sum(not fields for fields in (*view_fields.values(), *table_fields.values()))
    return Differences(
        views={key: one for key, one in views.items() if view_fields.get(key, True)},
        tables={key: one for key, one in tables.items() if table_fields.get(key, True)},
        view_fields={key: fields for key, fields in view_fields.items() if fields},
        table_fields={key: fields for key, fields in table_fields.items() if fields},
        deleted_views=gone_views,
        deleted_tables=gone_tables,
        unchanged=same,
        problems=tuple(problems),
        stated=stated,
        checks={key: one for key, one in checks.items() if one},
        bad_checks={(name_key(one.name), one.check) for one in bad if one.check is not None},
    )


def _normal(table: TableDefinition, problems: list[Problem]) -> TableDefinition:
    """The table with its options as they are stored."""
    try:
        check_stated(table.stated)
        check_pattern(table.url_pattern)
        return table.model_copy(update={"options": options_of(table.format, AS_USUAL, table.options)})
    except Invalid as error:
        problems.append(Problem(kind=Kind.TABLE, name=table.name, message=error.message))
        return table


def _name_problems(change: Change) -> Iterable[Problem]:
    seen: set[str] = set()
    named = [(Kind.TABLE, one.name) for one in change.definitions.tables]
    named += [(Kind.VIEW, one.name) for one in change.definitions.views]
    for kind, name in named:
        try:
            check_name(name, noun=kind.value)
        except Invalid as error:
            yield Problem(kind=kind, name=name, message=error.message)
        if name_key(name) in seen:
            yield Problem(kind=kind, name=name, message="Two views or tables of the change have this name.")
        seen.add(name_key(name))
    described = [(Kind.TABLE, one.name, one.column_descriptions) for one in change.definitions.tables]
    described += [(Kind.VIEW, one.name, one.column_descriptions) for one in change.definitions.views]
    for kind, name, texts in described:
        total = sum(len(text) for text in texts.values())
        if total > MOST_DESCRIBED:
            message = f"The descriptions of its columns have {total:,} characters; {MOST_DESCRIBED:,} are the most."
            yield Problem(kind=kind, name=name, message=message)
    for view in change.definitions.views:
        if view.max_staleness is SyncFrequency.NEVER:
            message = "The data of a view cannot be older than 'never'."
            yield Problem(kind=Kind.VIEW, name=view.name, message=message)


def _deleted(
    stored: StoredDefinitions,
    change: Change,
    views: Mapping[str, ViewDefinition],
    tables: Mapping[str, TableDefinition],
    problems: list[Problem],
) -> tuple[set[str], set[str]]:
    """The keys of the stored views and tables that the change deletes."""
    asked = {name_key(name): name for name in change.delete}
    for key, name in asked.items():
        if key not in stored.views and key not in stored.tables:
            problems.append(Problem(kind=Kind.VIEW, name=name, message="There is no view or table of this name."))
        if key in views or key in tables:
            problems.append(Problem(kind=Kind.VIEW, name=name, message="The change defines it, and deletes it."))
    gone_views, gone_tables = stored.views.keys() & asked.keys(), stored.tables.keys() & asked.keys()
    if change.prune:
        gone_views, gone_tables = stored.views.keys() - views.keys(), stored.tables.keys() - tables.keys()
    return set(gone_views), set(gone_tables)


def _taken(kind: Kind, name: str, by: Kind) -> Problem:
    return Problem(kind=kind, name=name, message=f"A {by.value} of this name exists. Delete it first, or prune.")


def _planned(kind: Kind, name: str, exists: bool, fields: tuple[str, ...]) -> PlannedChange:
    return PlannedChange(kind=kind, name=name, action=Action.UPDATE if exists else Action.CREATE, fields=fields)


def _view_fields(stored: StoredView, new: ViewDefinition, checks_differ: bool) -> tuple[str, ...]:
    old = stored.definition
    # Notes beside the statement in the query object belong to the client that saved it.
    values = {
        field: (getattr(old, field), getattr(new, field)) for field in _VIEW_FIELDS if field not in {"query", "checks"}
    }
    values["checks"] = (False, checks_differ)
    values["query"] = (old.text, new.text)
    values["column_descriptions"] = (_by_key(old.column_descriptions), _by_key(new.column_descriptions))
    return tuple(field for field in _VIEW_FIELDS if values[field][0] != values[field][1])


def _table_fields(stored: StoredTable, new: TableDefinition, checks_differ: bool) -> tuple[str, ...]:
    old = stored.definition
    values = {field: (getattr(old, field), getattr(new, field)) for field in _TABLE_FIELDS if field != "checks"}
    values["checks"] = (False, checks_differ)
    values["column_descriptions"] = (_by_key(old.column_descriptions), _by_key(new.column_descriptions))
    return tuple(field for field in _TABLE_FIELDS if values[field][0] != values[field][1])


def only_labels(fields: Collection[str]) -> bool:
    """Whether a source table changes in these fields, and in nothing that decides which rows it has."""
    return bool(fields) and set(fields) <= _LABELS


def _by_key(descriptions: Mapping[str, str]) -> dict[str, str]:
    return {name_key(name): text for name, text in descriptions.items()}
