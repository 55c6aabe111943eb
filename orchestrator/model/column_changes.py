"""How the columns of a view or a source table change."""

from collections.abc import Sequence

from orchestrator.model.base import Value
from orchestrator.model.names import fold
from orchestrator.model.snapshot import Column


class RetypedColumn(Value):
    """A column whose type changes: DuckDB's names of both types."""

    name: str
    before: str
    after: str


class ColumnChanges(Value):
    """How columns change. A column that is renamed is one removed and one added."""

    added: tuple[Column, ...] = ()
    removed: tuple[Column, ...] = ()
    retyped: tuple[RetypedColumn, ...] = ()

    @classmethod
    def between(cls, before: Sequence[Column], after: Sequence[Column]) -> "ColumnChanges":
        """The differences between two lists of columns."""
        old, new = {fold(one.name): one for one in before}, {fold(one.name): one for one in after}
        return cls(
            added=tuple(one for key, one in new.items() if key not in old),
            removed=tuple(one for key, one in old.items() if key not in new),
            retyped=tuple(
                RetypedColumn(name=one.name, before=old[key].duckdb_type, after=one.duckdb_type)
                for key, one in new.items()
                if key in old and old[key].duckdb_type != one.duckdb_type
            ),
        )
