"""The columns of the views that a change concerns: before it, after it, and as readers see them.

The columns *after* are those of a view's text over the texts of all that it reads, down to the tables: what it has once
everything has been refreshed. By them readers are judged. Those that are *shown* are over the results that are there
now; they are stored for views without a result.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from orchestrator.model.change_plan import BrokenReader
from orchestrator.model.column_changes import ColumnChanges
from orchestrator.model.definition_graph import DefinitionGraph
from orchestrator.model.errors import InvalidQuery
from orchestrator.model.snapshot import Column
from orchestrator.services.change_proposal import Proposal
from orchestrator.services.column_binding import Bound, ColumnBinder, NamedColumns, Statement


class Binding(NamedTuple):
    """The columns of the views that a change concerns, by key, or why one does not bind."""

    before: Mapping[str, Bound]
    after: Mapping[str, Bound]
    shown: Mapping[str, Bound]


async def bind(binder: ColumnBinder, project_id: int, proposal: Proposal) -> Binding:
    """Bind the views that are affected, with all that they read."""
    affected, stored, found = proposal.affected, proposal.stored, proposal.differences
    if not affected:
        return Binding({}, {}, {})
    old_tables = {key: NamedColumns(one.definition.name, one.columns) for key, one in stored.tables.items()}
    new_tables = tables_after(proposal)
    old_graph = DefinitionGraph({key: one.reads for key, one in stored.views.items()})
    old = {key: _old(proposal, key) for key in (affected | old_graph.above(affected)) & stored.views.keys()}
    new = {
        key: statement_after(proposal, key)
        for key in (affected | proposal.graph.above(affected)) & proposal.graph.reads.keys()
    }
    results = {
        key: NamedColumns(one.definition.name, one.shown)
        for key, one in stored.views.items()
        if one.has_result and key not in found.deleted_views and not proposal.is_reverted(key)
    }
    without_result = {key: one for key, one in new.items() if key not in results}
    return Binding(
        before=await binder.bind(project_id, old, old_tables),
        after=await binder.bind(project_id, new, new_tables),
        shown=await binder.bind(project_id, without_result, new_tables | results),
    )


def tables_after(proposal: Proposal) -> dict[str, NamedColumns]:
    """The source tables after the change."""
    stored, gone = proposal.stored.tables, proposal.differences.deleted_tables
    kept = {key: NamedColumns(one.definition.name, one.columns) for key, one in stored.items() if key not in gone}
    changed = proposal.table_columns.items()
    return kept | {key: NamedColumns(proposal.name(key), columns) for key, columns in changed}


def unbound(proposal: Proposal, binding: Binding, unread: Collection[str]) -> dict[str, InvalidQuery]:
    """Why views with a new statement do not bind, by key. `unread` are tables whose files could not be read.

    Without those that read such a table, or another view that does not bind: theirs is not the cause.
    """
    after = {key: binding.after.get(key) for key in proposal.differences.queries}
    errors = {key: bound for key, bound in after.items() if isinstance(bound, InvalidQuery)}
    causes = errors.keys() | set(unread)
    return {key: error for key, error in errors.items() if not proposal.graph.above([key]) & causes}


def broken(proposal: Proposal, binding: Binding) -> Iterable[BrokenReader]:
    """The views that the change does not mention, and that bind no more though they did."""
    found, graph = proposal.differences, proposal.graph
    changed = {*found.views, *found.tables, *found.deleted_views, *found.deleted_tables}
    for key in sorted(proposal.affected - set(found.queries)):
        after = binding.after.get(key)
        if isinstance(after, InvalidQuery) and not isinstance(binding.before.get(key), InvalidQuery):
            reads = [one for one in graph.reads[key] if one in changed or changed & graph.above([one])]
            yield BrokenReader(name=proposal.name(key), reads=tuple(map(proposal.name, reads)), message=after.message)


def column_changes(proposal: Proposal, binding: Binding, key: str) -> ColumnChanges:
    """How the columns of a view change that the change mentions."""
    before, after = binding.before.get(key, ()), binding.after.get(key)
    if after is None or isinstance(after, InvalidQuery):
        return ColumnChanges()
    known = proposal.stored.views[key].columns if isinstance(before, InvalidQuery) else before
    return ColumnChanges.between(known, after)


def to_store(proposal: Proposal, binding: Binding) -> dict[str, tuple[Column, ...]]:
    """The columns to store: of views with a new statement, and of others without a result that are not those stored."""
    columns: dict[str, tuple[Column, ...]] = {}
    for key in {*binding.shown, *proposal.differences.queries}:
        bound = binding.shown.get(key)
        if bound is None or isinstance(bound, InvalidQuery):
            bound = binding.after.get(key)
        if bound is None or isinstance(bound, InvalidQuery):
            continue
        if key not in proposal.stored.views or proposal.stored.views[key].columns != bound:
            columns[key] = bound
    return columns


def _old(proposal: Proposal, key: str) -> Statement:
    view = proposal.stored.views[key]
    text = view.definition.text
    return Statement(view.definition.name, text.sql, view.reads, view.columns, text.dialect)


def statement_after(proposal: Proposal, key: str) -> Statement:
    """A view after the change, to be bound."""
    definition, old = proposal.definition(key), proposal.stored.views.get(key)
    text = definition.text
    return Statement(definition.name, text.sql, proposal.graph.reads[key], old.columns if old else (), text.dialect)
