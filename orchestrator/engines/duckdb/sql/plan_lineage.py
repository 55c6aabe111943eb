"""Reads DuckDB's bound plan of a query: which columns of its inputs each column is computed from.

The plan is DuckDB's own: names, `*`, USING, aliases and subqueries are resolved in it as they are when the query runs.
It is read before the optimizer changes it. Only operators and fields that are listed here are read: anything else, such
as what a later version of DuckDB adds, raises NotUnderstood, so that no column is left out or wrongly given.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from orchestrator.engines.duckdb.sql.plan_columns import (
    NOTHING,
    Dependence,
    Node,
    NotUnderstood,
    Relation,
    numbered,
    together,
)

_COMMON = frozenset({"type", "children"})
_SCAN = "seq_scan"
_SCANNED = frozenset(
    {
        *("table_index", "returned_types", "names", "name", "arguments", "has_serialize", "function_data"),
        *("column_indexes", "extra_info", "ordinality_idx", "parameters", "named_parameters", "input_table_types"),
        *("input_table_names", "projected_input", "catalog_name", "schema_name", "original_arguments"),
    }
)
# Table functions whose rows follow from their arguments.
_TABLE_FUNCTIONS = frozenset({"generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest"})
_JOIN = frozenset({"join_type", "mark_index", "mark_types"})
_COMPARISONS = _JOIN | {"conditions", "delim_flipped", "duplicate_eliminated_columns"}
_CONDITION = frozenset({"left", "right", "comparison"})
_SET = frozenset({"table_index", "column_count", "setop_all", "allow_out_of_order"})
_MATCHED = frozenset({"INNER", "LEFT", "RIGHT", "FULL", "OUTER"})
# With this comparison, DuckDB joins the rows of a correlated subquery to those for which it was computed.
_SAME = "COMPARE_NOT_DISTINCT_FROM"


class Input(NamedTuple):
    """An input of the query: the bit of its first column, and their number. The bit after them stands for its rows."""

    first: int
    columns: int

    @property
    def rows(self) -> int:
        """The bit of its rows."""
        return 1 << (self.first + self.columns)


class PlanReader:
    """Reads one plan. `inputs` are the tables that it scans, by their names in the plan."""

    def __init__(self, inputs: Mapping[str, Input]) -> None:
        self._inputs = inputs
        # The result of each CTE, by the number that references have.
        self._ctes: dict[int, Relation] = {}
        # The columns that correlated subqueries get of the rows around them, from the outermost to the innermost.
        self._correlated: list[list[Dependence]] = []
        self._readers: dict[str, tuple[frozenset[str], Callable[[Node], Relation]]] = {
            "LOGICAL_AGGREGATE_AND_GROUP_BY": (_AGGREGATE, self._aggregate),
            "LOGICAL_ANY_JOIN": (_JOIN | {"condition"}, self._any_join),
            "LOGICAL_ASOF_JOIN": (_COMPARISONS, self._comparison_join),
            "LOGICAL_CHUNK_GET": (frozenset({"table_index", "chunk_types", "collection"}), self._constants),
            "LOGICAL_COMPARISON_JOIN": (_COMPARISONS, self._comparison_join),
            "LOGICAL_CROSS_PRODUCT": (frozenset(), self._side_by_side),
            "LOGICAL_CTE_REF": (_CTE_REF, self._cte_ref),
            "LOGICAL_DELIM_GET": (frozenset({"table_index", "chunk_types"}), self._delim_get),
            "LOGICAL_DELIM_JOIN": (_COMPARISONS, self._comparison_join),
            "LOGICAL_DISTINCT": (frozenset({"distinct_type", "distinct_targets", "order_by"}), self._same_columns),
            "LOGICAL_DUMMY_SCAN": (frozenset({"table_index"}), self._one_row),
            "LOGICAL_EXCEPT": (_SET, self._left_of_set),
            "LOGICAL_EXPRESSION_GET": (frozenset({"table_index", "expr_types", "expressions"}), self._values),
            "LOGICAL_FILTER": (frozenset({"expressions", "projection_map"}), self._filter),
            "LOGICAL_GET": (_SCANNED, self._get),
            "LOGICAL_INTERSECT": (_SET, self._left_of_set),
            "LOGICAL_LIMIT": (frozenset({"limit_val", "offset_val"}), self._same_columns),
            "LOGICAL_MATERIALIZED_CTE": (_CTE | {"materialize"}, self._cte),
            "LOGICAL_ORDER_BY": (frozenset({"orders"}), self._same_columns),
            "LOGICAL_PIVOT": (frozenset({"pivot_index", "bound_pivot"}), self._pivot),
            "LOGICAL_POSITIONAL_JOIN": (frozenset(), self._side_by_side),
            "LOGICAL_PROJECTION": (frozenset({"table_index", "expressions"}), self._projection),
            "LOGICAL_RECURSIVE_CTE": (_CTE | {"union_all", "key_targets", "ref_recurring"}, self._recursive_cte),
            "LOGICAL_SAMPLE": (frozenset({"sample_options"}), self._same_columns),
            "LOGICAL_UNION": (_SET, self._union),
            "LOGICAL_UNNEST": (frozenset({"unnest_index", "expressions"}), self._unnest),
            "LOGICAL_WINDOW": (frozenset({"window_index", "expressions"}), self._window),
        }

    def read(self, node: Node) -> Relation:
        """The result of an operator. Raises NotUnderstood."""
        kind = str(node.get("type"))
        if kind not in self._readers:
            raise NotUnderstood(f"the operator {kind}")
        known, reader = self._readers[kind]
        strange = node.keys() - known - _COMMON
        if strange:
            raise NotUnderstood(f"{min(strange)} of the operator {kind}")
        return reader(node)

    def _child(self, node: Node) -> Relation:
        (only,) = _children(node, 1)
        return self.read(only)

    def _same_columns(self, node: Node) -> Relation:
        """An operator that leaves rows out or orders them, by all the expressions that it has."""
        child = self._child(node)
        return child.with_rows(child.dependence([value for key, value in node.items() if key not in _COMMON]).all)

    def _filter(self, node: Node) -> Relation:
        """A filter, which may also drop columns: `projection_map` are the places of those that it keeps."""
        kept = node.get("projection_map")
        found = self._same_columns({key: value for key, value in node.items() if key != "projection_map"})
        if kept is None:
            return found
        return Relation([found.columns[n] for n in kept], [found.bindings[n] for n in kept], found.rows)

    def _projection(self, node: Node) -> Relation:
        child = self._child(node)
        columns = [child.dependence(one) for one in node["expressions"]]
        return Relation(columns, numbered(node.get("table_index", 0), len(columns)), child.rows)

    def _window(self, node: Node) -> Relation:
        child = self._child(node)
        return _beside(child, [child.dependence(one) for one in node["expressions"]], node.get("window_index", 0))

    def _unnest(self, node: Node) -> Relation:
        child = self._child(node)
        columns = [child.dependence(one) for one in node["expressions"]]
        return _beside(child, columns, node.get("unnest_index", 0)).with_rows(together(columns).all)

    def _aggregate(self, node: Node) -> Relation:
        child = self._child(node)
        groups = [child.dependence(one) for one in node.get("groups", ())]
        results = [child.dependence(one) for one in node.get("expressions", ())]
        groupings = [NOTHING] * len(node.get("grouping_functions", ()))
        bindings = [
            *numbered(node.get("group_index", 0), len(groups)),
            *numbered(node.get("aggregate_index", 0), len(results)),
            *numbered(node.get("groupings_index", 0), len(groupings)),
        ]
        if groups:
            return Relation([*groups, *results, *groupings], bindings, child.rows | together(groups).all)
        # It always has one row, and is computed from all rows below it.
        return Relation([*results, *groupings], bindings, child.rows).given(child.rows)

    def _get(self, node: Node) -> Relation:
        if node.get("name") == _SCAN and not node.get("children"):
            return self._scan(node)
        if node.get("name") not in _TABLE_FUNCTIONS:
            raise NotUnderstood(f"the table function {node.get('name')}")
        count = len(node.get("column_indexes", ())) or 1
        bindings = numbered(node.get("table_index", 0), count)
        if not node.get("children"):
            return Relation([NOTHING] * count, bindings, 0)
        child = self._child(node)
        # The first columns of the child are the arguments. Some of its columns are passed on with each row.
        arguments = together(child.columns[: len(node.get("input_table_types", ()))])
        passed = node.get("projected_input", ())
        columns = [*[arguments] * count, *(child.columns[n] for n in passed)]
        return Relation(columns, [*bindings, *(child.bindings[n] for n in passed)], child.rows | arguments.all)

    def _scan(self, node: Node) -> Relation:
        source = self._inputs.get(str((node.get("function_data") or {}).get("table")))
        places = [one.get("index", 0) for one in node.get("column_indexes", ())]
        if source is None or not all(0 <= place < source.columns for place in places):
            raise NotUnderstood("a table that is none of its inputs")
        columns = [Dependence(1 << (source.first + place)) for place in places]
        return Relation(columns, numbered(node.get("table_index", 0), len(columns)), source.rows)

    def _values(self, node: Node) -> Relation:
        child = self._child(node)
        columns = [together(map(child.dependence, column)) for column in zip(*node["expressions"], strict=True)]
        return Relation(columns, numbered(node.get("table_index", 0), len(columns)), child.rows)

    def _constants(self, node: Node) -> Relation:
        count = len(node["chunk_types"])
        return Relation([NOTHING] * count, numbered(node.get("table_index", 0), count), 0)

    def _one_row(self, node: Node) -> Relation:
        return Relation([NOTHING], numbered(node.get("table_index", 0), 1), 0)

    def _side_by_side(self, node: Node) -> Relation:
        left, right = map(self.read, _children(node, 2))
        return _joined(left, right, left.rows | right.rows)

    def _any_join(self, node: Node) -> Relation:
        left, right = map(self.read, _children(node, 2))
        condition = _joined(left, right, 0).dependence(node["condition"])
        return _join(node, left, right, condition)

    def _comparison_join(self, node: Node) -> Relation:
        above, below = _children(node, 2)
        if node.get("delim_flipped"):
            raise NotUnderstood("a join with its sides exchanged")
        left = self.read(above)
        is_correlated = node["type"] == "LOGICAL_DELIM_JOIN"
        if is_correlated:
            self._correlated.append([left.dependence(one) for one in node.get("duplicate_eliminated_columns", ())])
        right = self.read(below)
        if is_correlated:
            self._correlated.pop()
        condition = NOTHING
        for one in node.get("conditions", ()):
            if one.keys() - _CONDITION:
                raise NotUnderstood(f"{min(one.keys() - _CONDITION)} of a join")
            found = together([left.dependence(one["left"]), right.dependence(one["right"])])
            if is_correlated and one.get("comparison") == _SAME:
                found = Dependence(0, found.all)
            condition = together([condition, found])
        return _join(node, left, right, condition)

    def _delim_get(self, node: Node) -> Relation:
        """The values of the rows around a correlated subquery. The join above it finds each row's own again."""
        columns = self._correlated[-1] if self._correlated else []
        if len(columns) != len(node["chunk_types"]):
            raise NotUnderstood("the columns of a correlated subquery")
        return Relation(columns, numbered(node.get("table_index", 0), len(columns)), 0)

    def _union(self, node: Node) -> Relation:
        sides = [self.read(child) for child in node["children"]]
        return _stacked(sides, node.get("table_index", 0))

    def _left_of_set(self, node: Node) -> Relation:
        left, right = map(self.read, _children(node, 2))
        rows = left.rows | right.rows | left.every() | right.every()
        return Relation(left.columns, numbered(node.get("table_index", 0), len(left.columns)), rows)

    def _cte(self, node: Node) -> Relation:
        definition, query = _children(node, 2)
        self._ctes[node.get("table_index", 0)] = self.read(definition)
        return self.read(query)

    def _recursive_cte(self, node: Node) -> Relation:
        """Read the recursive half until it adds nothing."""
        first, recursive = _children(node, 2)
        index = node.get("table_index", 0)
        start = self.read(first)
        keys = start.dependence(node.get("key_targets", [])).all
        found = Relation(start.columns, numbered(index, len(start.columns)), start.rows | keys)
        while True:
            self._ctes[index] = found
            both = _stacked([found, self.read(recursive)], index)
            if not node.get("union_all"):
                both = both.with_rows(both.every())
            if (both.columns, both.rows) == (found.columns, found.rows):
                return found
            found = both

    def _cte_ref(self, node: Node) -> Relation:
        found = self._ctes.get(node.get("cte_index", 0))
        if found is None or len(found.columns) != len(node["chunk_types"]):
            raise NotUnderstood("a reference to a CTE")
        return Relation(found.columns, numbered(node.get("table_index", 0), len(found.columns)), found.rows)

    def _pivot(self, node: Node) -> Relation:
        """A PIVOT of many values: its child has the groups, a list for each aggregate, and the list of values."""
        child, pivot = self._child(node), node["bound_pivot"]
        groups, aggregates = pivot.get("group_count", 0), len(pivot.get("aggregates", ()))
        if not aggregates or len(child.columns) != groups + aggregates + 1:
            raise NotUnderstood("the columns of a PIVOT")
        value = child.columns[-1].all
        results = [Dependence(one.values, one.also | value) for one in child.columns[groups:-1]]
        columns = [*child.columns[:groups], *results * len(pivot["pivot_values"])]
        return Relation(columns, numbered(node.get("pivot_index", 0), len(columns)), child.rows)


_AGGREGATE = frozenset(
    {
        *("expressions", "group_index", "aggregate_index", "groupings_index", "groups", "grouping_sets"),
        *("grouping_functions", "distinct_validity"),
    }
)
_CTE = frozenset({"table_index", "column_count", "ctename"})
_CTE_REF = frozenset({"table_index", "cte_index", "chunk_types", "bound_columns", "is_recurring"})


def _children(node: Node, count: int) -> list[Node]:
    children: list[Node] = node.get("children", [])
    if len(children) != count:
        raise NotUnderstood(f"the operator {node['type']} with {len(children)} inputs")
    return children


def _beside(child: Relation, columns: Sequence[Dependence], index: int) -> Relation:
    """The columns of an operator's input, and further ones of its own."""
    bindings = [*child.bindings, *numbered(index, len(columns))]
    return Relation([*child.columns, *columns], bindings, child.rows)


def _joined(left: Relation, right: Relation, rows: int) -> Relation:
    return Relation([*left.columns, *right.columns], [*left.bindings, *right.bindings], rows)


def _join(node: Node, left: Relation, right: Relation, condition: Dependence) -> Relation:
    """A join of any type. One that finds a value for each row on the left leaves the rows on the left as they are."""
    kind = node["join_type"]
    if kind in _MATCHED:
        return _joined(left, right, left.rows | right.rows | condition.all)
    if kind in {"SEMI", "ANTI"}:
        return left.with_rows(right.rows | condition.all)
    if kind == "SINGLE":
        return _joined(left, right.given(right.rows | condition.all), left.rows)
    if kind == "MARK":
        mark = Dependence(condition.values, condition.also | right.rows)
        return _beside(left, [mark], node.get("mark_index", 0))
    raise NotUnderstood(f"a join of the type {kind}")


def _stacked(sides: Sequence[Relation], index: int) -> Relation:
    """The rows of all sides below one another."""
    if not sides or len({len(side.columns) for side in sides}) > 1:
        raise NotUnderstood("the columns of a UNION")
    rows = 0
    for side in sides:
        rows |= side.rows
    columns = [together(column) for column in zip(*(side.columns for side in sides), strict=True)]
    return Relation(columns, numbered(index, len(columns)), rows)
