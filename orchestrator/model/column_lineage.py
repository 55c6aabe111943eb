"""Column lineage: which columns of its inputs each column of a view is computed from."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from orchestrator.model.names import name_key

# A column may be computed from every column of the project, and so may thousands of others.
_MOST_SOURCES = 5_000
_MOST_IN_ALL = 1_000_000
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
    expansion = _Expansion()
    return {key: expansion.add(key, views[key]) for key in inputs_first}


class _Expansion:
    """Lineages down to source tables, each made of those before it."""

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, Sources]] = {}
        self._rows: dict[str, Sources] = {}
        # How many references may still be looked at: thousands of columns may each follow from thousands.
        self._left = _MOST_IN_ALL

    def add(self, key: str, lineage: QueryLineage) -> QueryLineage:
        """The lineage of the view of this key down to source tables."""
        columns = tuple((name, self._expanded(one)) for name, one in lineage.columns)
        rows = self._expanded(lineage.rows)
        found = QueryLineage(columns, Sources(also=rows.all, reason=rows.reason))
        self._columns[key] = {name_key(name): one for name, one in columns}
        self._rows[key] = found.rows
        return found

    def _expanded(self, one: Sources) -> Sources:
        values = [self._of(ref) for ref in one.sources]
        others = [self._of(ref) for ref in one.also]
        size = sum(len(found.sources) + len(found.also) for found in (*values, *others))
        if size > self._left:
            return Sources(reason=_TOO_MANY_IN_ALL)
        self._left -= size
        sources = frozenset[ColumnRef]().union(*(found.sources for found in values))
        also = frozenset[ColumnRef]().union(*(found.also for found in values), *(found.all for found in others))
        if len(sources | also) > _MOST_SOURCES:
            return Sources(reason=_TOO_MANY)
        reasons = (found.reason for found in (*values, *others) if found.reason is not None)
        return Sources(sources, also - sources, one.reason or min(reasons, default=None))

    def _of(self, ref: ColumnRef) -> Sources:
        """The sources of a column of an input; the column itself if the input is a source table."""
        key = name_key(ref.node)
        if key not in self._rows:
            return Sources(frozenset({ref}))
        found = self._rows[key] if ref.column is None else self._columns[key].get(name_key(ref.column))
        if found is None:
            return Sources(
                reason=f'The query of "{ref.node}" was changed: its next result has no column "{ref.column}".'
            )
        if found.reason is None or found.reason.startswith(_ELSEWHERE):
            return found
        return Sources(found.sources, found.also, f'{_ELSEWHERE}"{ref.node}": {found.reason}')
