"""The columns that the expressions of DuckDB's bound plan are computed from.

A set of columns is an integer with a bit for each: a plan may have thousands of columns, each from thousands.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

Node = dict[str, Any]
Binding = tuple[int, int]

# Expressions whose value follows from all that is below them, and from nothing else.
_PLAIN = frozenset(
    {
        *("BOUND_BETWEEN", "BOUND_CASE", "BOUND_CAST", "BOUND_COMPARISON", "BOUND_CONJUNCTION", "BOUND_FUNCTION"),
        *("BOUND_OPERATOR", "BOUND_UNNEST"),
    }
)
# The fields with which an aggregate or a window computes; all others of one only choose rows, or their order.
_ARGUMENTS = {
    "BOUND_AGGREGATE": frozenset({"children"}),
    "BOUND_WINDOW": frozenset({"children", "offset_expr", "default_expr"}),
}
# Types and constants hold no columns. A lambda's body counts its own parameters; the columns that it captures are
# arguments of the function beside it.
_PASSED_OVER = frozenset({"return_type", "arguments", "original_arguments", "value", "lambda_expr"})


class NotUnderstood(Exception):
    """The plan has something of which this module does not know what it computes. The message says what."""


class Dependence(NamedTuple):
    """The columns that a value is computed from, and others that decide from which rows it is computed."""

    values: int = 0
    also: int = 0

    @property
    def all(self) -> int:
        """Both."""
        return self.values | self.also


NOTHING = Dependence()


class Relation:
    """The result of an operator: its columns in order, and the columns that decide which rows there are."""

    def __init__(self, columns: Sequence[Dependence], bindings: Sequence[Binding], rows: int) -> None:
        if len(columns) != len(bindings):
            raise NotUnderstood("the number of columns of an operator")
        self.columns = list(columns)
        self.bindings = list(bindings)
        self.rows = rows

    def with_rows(self, further: int) -> "Relation":
        """The same columns, with further columns that decide which rows there are."""
        return Relation(self.columns, self.bindings, self.rows | further)

    def given(self, conditions: int) -> "Relation":
        """The same columns, each of which also depends on these."""
        return Relation([Dependence(one.values, one.also | conditions) for one in self.columns], self.bindings, 0)

    def dependence(self, expression: object) -> Dependence:
        """The dependence of an expression over these columns. Raises NotUnderstood."""
        return together(self._parts(expression))

    def every(self) -> int:
        """All that any of the columns depends on."""
        return together(self.columns).all

    def _parts(self, node: object) -> Iterator[Dependence]:
        if isinstance(node, list):
            for item in node:
                yield from self._parts(item)
        elif isinstance(node, dict):
            kind = node.get("expression_class")
            if kind is None or kind in _PLAIN:
                for key, child in node.items():
                    if key not in _PASSED_OVER:
                        yield from self._parts(child)
            elif kind != "BOUND_CONSTANT":
                yield self._part(node, kind)

    def _part(self, node: Node, kind: str) -> Dependence:
        if kind == "BOUND_REF":
            return self._column(node.get("index", 0))
        if kind == "BOUND_COLUMN_REF":
            return self._bound(node)
        if kind in _ARGUMENTS:
            return self._chosen(node, _ARGUMENTS[kind])
        raise NotUnderstood(f"an expression of the kind {kind}")

    def _column(self, index: int) -> Dependence:
        if not 0 <= index < len(self.columns):
            raise NotUnderstood("a reference to a column that is not there")
        return self.columns[index]

    def _bound(self, node: Node) -> Dependence:
        """The column that a reference names by its table and position: DuckDB leaves these below table functions."""
        binding = node.get("binding") or {}
        place = (binding.get("table_index", 0), binding.get("column_index", 0))
        if node.get("depth", 0) or place not in self.bindings:
            raise NotUnderstood("a reference to a column of another query")
        return self.columns[self.bindings.index(place)]

    def _chosen(self, node: Node, arguments: frozenset[str]) -> Dependence:
        values = self.dependence([child for key, child in node.items() if key in arguments])
        others = [child for key, child in node.items() if key not in arguments and key not in _PASSED_OVER]
        return Dependence(values.values, values.also | self.dependence(others).all)


def together(parts: Iterable[Dependence]) -> Dependence:
    """The dependence of a value that is computed from all of these."""
    values = also = 0
    for one in parts:
        values |= one.values
        also |= one.also
    return Dependence(values, also)


def numbered(table_index: int, count: int) -> list[Binding]:
    """The bindings of the columns of one table."""
    return [(table_index, n) for n in range(count)]
