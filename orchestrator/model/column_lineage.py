"""Column lineage: which columns of its inputs each column of a view is computed from."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from orchestrator.model.names import name_key

# A column may be computed from every column of the project, and so may thousands of others.
_MOST_SOURCES = 5_000
_MOST_IN_ALL = 500_000
_TOO_MANY = f"It is computed from more columns than can be shown ({_MOST_SOURCES:,})."
_ELSEWHERE = "In the view "
_TOO_MANY_IN_ALL = "The columns of these views are computed from too many columns; ask for one view."


class ColumnRef(NamedTuple):
    """A column of a view or source table. None stands for its rows: how many there are, and which."""

    node: str
    column: str | None


class Sources(NamedTuple):
    """The columns that a column follows from, or that decide which rows there are.

    `sources` are the columns that a value is computed from. `also` are others that decide from which rows. `reason`
    says why that may not be all; None if it is all.
    """

    sources: frozenset[ColumnRef] = frozenset()
    also: frozenset[ColumnRef] = frozenset()
    reason: str | None = None

    @property
    def all(self) -> frozenset[ColumnRef]:
        """Both."""
        return self.sources | self.also


class QueryLineage(NamedTuple):
    """The lineage of a query: that of each column of its result in order, and that of which rows it has."""

    columns: tuple[tuple[str, Sources], ...]
    rows: Sources

    @property
    def size(self) -> int:
        """The number of references."""
        return len(self.rows.all) + sum(len(one.sources) + len(one.also) for _, one in self.columns)


def unknown(columns: Iterable[str], reason: str) -> QueryLineage:
    """The lineage of a query of which nothing is known but the names of its columns."""
    nothing = Sources(reason=reason)
    return QueryLineage(tuple((name, nothing) for name in columns), nothing)


def down_to_tables(views: Mapping[str, QueryLineage], inputs_first: Iterable[str]) -> dict[str, QueryLineage]:
    """The same lineages with each column of a view replaced by what that is computed from, down to source tables.

    `views` are lineages by the key of the view's name. `inputs_first` are these keys, each after those that it reads.
    """
    expanded: dict[str, _Expanded] = {}
    size = 0
    for key in inputs_first:
        if size > _MOST_IN_ALL:
            found = unknown([name for name, _ in views[key].columns], _TOO_MANY_IN_ALL)
        else:
            found = _replaced(views[key], expanded)
        size += found.size
        expanded[key] = _Expanded({name_key(name): one for name, one in found.columns}, found)
    return {key: one.lineage for key, one in expanded.items()}


class _Expanded(NamedTuple):
    columns: Mapping[str, Sources]
    lineage: QueryLineage


def _replaced(lineage: QueryLineage, expanded: Mapping[str, _Expanded]) -> QueryLineage:
    columns = tuple((name, _replaced_in(one, expanded)) for name, one in lineage.columns)
    rows = _replaced_in(lineage.rows, expanded)
    return QueryLineage(columns, Sources(also=rows.all, reason=rows.reason))


def _replaced_in(one: Sources, expanded: Mapping[str, _Expanded]) -> Sources:
    values = [_of(ref, expanded) for ref in sorted(one.sources, key=str)]
    others = [_of(ref, expanded) for ref in sorted(one.also, key=str)]
    sources = frozenset().union(*(found.sources for found in values))
    also = frozenset().union(*(found.also for found in values), *(found.all for found in others)) - sources
    if len(sources) + len(also) > _MOST_SOURCES:
        return Sources(reason=_TOO_MANY)
    reasons = (found.reason for found in (*values, *others) if found.reason is not None)
    return Sources(sources, also, one.reason or next(reasons, None))


def _of(ref: ColumnRef, expanded: Mapping[str, _Expanded]) -> Sources:
    """The sources of a column of an input; the column itself if the input is a source table."""
    view = expanded.get(name_key(ref.node))
    if view is None:
        return Sources(frozenset({ref}))
    found = view.lineage.rows if ref.column is None else view.columns.get(name_key(ref.column))
    if found is None:
        return Sources(reason=f'The query of "{ref.node}" was changed: its next result has no column "{ref.column}".')
    if found.reason is None or found.reason.startswith(_ELSEWHERE):
        return found
    return Sources(found.sources, found.also, f'{_ELSEWHERE}"{ref.node}": {found.reason}')
