"""Translates DuckDB's dialect to Spark's, and refuses by name all that would mean something else there.

It is loaded by the processes that analyse queries, which DuckDB has checked the text in before.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import sqlglot
import sqlglot.dialects.duckdb
import sqlglot.dialects.spark  # both are loaded here: a confined process could not load them later
from sqlglot import exp
from sqlglot.errors import ErrorLevel, OptimizeError, ParseError, SqlglotError, UnsupportedError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, traverse_scope
from sqlglot.schema import MappingSchema

from orchestrator.engines.spark.allowed import ADDED, EXTRACTED, FUNCTIONS, JOINS, SIDES, SYNTAX, TRUNCATED
from orchestrator.engines.spark.names import session_names
from orchestrator.engines.spark.types import spark_type
from orchestrator.model.errors import InvalidQuery
from orchestrator.model.names import fold

Columns = Sequence[tuple[str, str]]

_WHOLE = {exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT, exp.DType.BOOLEAN}
_WIDE = {exp.DType.INT128, exp.DType.UTINYINT, exp.DType.USMALLINT, exp.DType.UINT, exp.DType.UBIGINT}
_FLOATING = {exp.DType.FLOAT, exp.DType.DOUBLE}
_DECIMALS = {exp.DType.DECIMAL}
_TEXTS = {exp.DType.TEXT, exp.DType.VARCHAR}
_NESTED = {exp.DType.ARRAY, exp.DType.LIST, exp.DType.STRUCT, exp.DType.MAP}
# The types of casts, as DuckDB's dialect is parsed.
_CASTS = {
    exp.DType.INT128: "DECIMAL(38, 0)",
    exp.DType.UTINYINT: "SMALLINT",
    exp.DType.USMALLINT: "INT",
    exp.DType.UINT: "BIGINT",
    exp.DType.UBIGINT: "DECIMAL(20, 0)",
    exp.DType.JSON: "STRING",
    exp.DType.TIMESTAMP: "TIMESTAMP_NTZ",
    exp.DType.TIMESTAMPTZ: "TIMESTAMP",
    exp.DType.TEXT: "STRING",
    exp.DType.TIMESTAMPNTZ: "TIMESTAMP_NTZ",
    exp.DType.VARBINARY: "BINARY",
}
_AS_THEY_ARE = {
    *(exp.DType.BOOLEAN, exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT, exp.DType.FLOAT),
    *(exp.DType.DOUBLE, exp.DType.DECIMAL, exp.DType.DATE),
}
_HINT = 'Write it otherwise, take Spark\'s own dialect ("dialect": "spark"), or leave the view to DuckDB.'


def translate(sql: str, tables: Mapping[str, Columns]) -> str:
    """The statement in Spark's dialect. `tables` are those that it reads, with their columns and DuckDB types.

    In it, the tables have the names of `session_names`. Raises InvalidQuery that names what does not translate.
    """
    tree = parse(sql, "duckdb")
    short = session_names(tables)
    rename_tables(tree, short)
    for node in tree.walk():
        _check(node)
    unsupported = {
        (short[fold(name)], fold(column)): kind
        for name, columns in tables.items()
        for column, kind in columns
        if spark_type(kind) is None
    }
    schema = MappingSchema(
        {
            short[fold(name)]: {column: kind if spark_type(kind) else "UNKNOWN" for column, kind in columns}
            for name, columns in tables.items()
        },
        dialect="duckdb",
    )
    try:
        qualified = qualify(tree, dialect="duckdb", schema=schema, quote_identifiers=True)
        _check_columns(qualified, unsupported)
        final = _rewrite_all(annotate_types(qualified, schema=schema, dialect="duckdb"))
        return final.sql(dialect="spark", identify=True, pretty=True, unsupported_level=ErrorLevel.RAISE)
    except UnsupportedError as error:
        raise _refused(str(error)) from None
    except (OptimizeError, SqlglotError) as error:
        raise refused(f"a name cannot be resolved: {_first_line(error)}") from None


def parse(sql: str, dialect: str) -> exp.Query:
    """The syntax tree of exactly one SELECT. Raises InvalidQuery."""
    try:
        trees = sqlglot.parse(sql, dialect=dialect)
    except (ParseError, SqlglotError) as error:
        raise refused(f"the text is not understood: {_first_line(error)}") from None
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise refused("a view is one SELECT")
    return trees[0]


def rename_tables(tree: exp.Query, short: Mapping[str, str]) -> None:
    """Give the tables of a tree the names that they have in a session. Raises InvalidQuery for any other table."""
    for table, own in list(tables_of(tree)):
        key = fold(own)
        if key not in short:
            raise refused(f"there is no view or source table {own}")
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(own.rpartition(".")[2], quoted=True)))
        table.set("this", exp.to_identifier(short[key], quoted=True))
        table.set("db", None)
        table.set("catalog", None)
    for column in tree.find_all(exp.Column):
        column.set("db", None)
        column.set("catalog", None)


def tables_of(tree: exp.Query) -> Iterator[tuple[exp.Table, str]]:
    """The tables of a tree that are none of its own WITH clauses, each with its full name."""
    seen: set[int] = set()
    try:
        scopes = traverse_scope(tree)
    except SqlglotError as error:
        raise refused(f"the text is not understood: {_first_line(error)}") from None
    for scope in scopes:
        for table in scope.tables:
            seen.add(id(table))
            if not all(isinstance(part, exp.Identifier) for part in table.parts):
                raise refused("a function stands in place of a table")
            source = scope.sources.get(table.alias_or_name)
            if not isinstance(source, Scope) or len(table.parts) > 1:
                yield table, ".".join(part.name for part in table.parts)
    stray = next((table for table in tree.find_all(exp.Table) if id(table) not in seen), None)
    if stray is not None:
        raise refused(f"`{stray.sql(dialect='spark')[:80]}` stands where no table may stand")


def refused(reason: str) -> InvalidQuery:
    """The error of a statement that Spark cannot be given."""
    return InvalidQuery(f"Invalid query: on Spark, {reason}.", attr="query")


def _refused(what: str) -> InvalidQuery:
    return InvalidQuery(f"Invalid query: Spark has no equal for {what}. {_HINT}", attr="query")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")[:300]


def _shown(node: exp.Expr) -> str:
    if isinstance(node, exp.Anonymous):
        return f"the function {node.name.lower()}"
    if isinstance(node, exp.Func):
        return f"the function {node.sql_name().lower()}"
    return f"`{node.sql(dialect='duckdb')[:80]}`"


def _check(node: exp.Expr) -> None:
    """Raise InvalidQuery for a node that means something else in Spark, or is not known to mean the same."""
    if type(node) not in _KNOWN:
        raise _refused(_shown(node))
    differs = _DIFFERENT.get(type(node))
    what = differs(node) if differs else None
    if what is not None:
        raise _refused(what)


def _join(node: exp.Expr) -> str | None:
    known = str(node.kind).upper() in JOINS and str(node.side).upper() in SIDES  # type: ignore[attr-defined]
    method = str(node.args.get("method") or "")
    return None if known and method.upper() in {"", "NATURAL"} else f"a join that is {method or node.kind}".lower()  # type: ignore[attr-defined]


def _like(node: exp.Expr) -> str | None:
    pattern = node.expression
    if isinstance(pattern, exp.Literal) and pattern.is_string and "\\" not in pattern.name:
        return None
    return "LIKE with a backslash or with a pattern that is no literal"


def _window(node: exp.Expr) -> str | None:
    bounds = [node.args.get(side) for side in ("start", "end")]
    by_rows = str(node.args.get("kind")).upper() == "ROWS"
    if node.args.get("exclude") or (not by_rows and any(isinstance(one, exp.Expr) for one in bounds)):
        return "a window that is bounded by values (RANGE, GROUPS)"
    return None


def _substring(node: exp.Expr) -> str | None:
    start = node.args.get("start")
    is_plain = isinstance(start, exp.Literal) and start.is_int and int(start.name) > 0
    return None if is_plain else "substring with a start that is no positive number"


def _unit(known: Collection[str], what: str) -> Callable[[exp.Expr], str | None]:
    """A check of the unit of a function of times."""

    def differs(node: exp.Expr) -> str | None:
        unit = node.this if isinstance(node, exp.Extract) else node.args.get("unit")
        name = "" if unit is None else unit.name.upper()
        return None if name in known or name.removesuffix("S") in known else f"{what} {name.lower()}".strip()

    return differs


def _interval(node: exp.Expr) -> str | None:
    differs = _unit(ADDED, "an interval of the unit")(node)
    return differs or (None if isinstance(node.this, exp.Literal) else "an interval that is computed")


_KNOWN = frozenset((*SYNTAX, *FUNCTIONS))
# Of a class of nodes, which of them mean something else in Spark, in words.
_DIFFERENT: Mapping[type[exp.Expr], Callable[[exp.Expr], str | None]] = {
    exp.Join: _join,
    exp.Like: _like,
    exp.ILike: _like,
    exp.Distinct: lambda node: "DISTINCT ON" if node.args.get("on") else None,
    exp.WindowSpec: _window,
    exp.Substring: _substring,
    exp.Extract: _unit(EXTRACTED, "extract of"),
    exp.TimestampTrunc: _unit(TRUNCATED, "date_trunc to"),
    exp.DateDiff: _unit({"DAY"}, "date_diff of"),
    exp.Interval: _interval,
    exp.Trim: lambda node: None if node.expression is None else "trim of given characters",
}


def _check_columns(tree: exp.Expr, unsupported: Mapping[tuple[str, str], str]) -> None:
    if not unsupported:
        return
    for scope in traverse_scope(tree):
        of_tables = {alias: one.name for alias, one in scope.sources.items() if isinstance(one, exp.Table)}
        for column in scope.columns:
            kind = unsupported.get((of_tables.get(column.table, ""), fold(column.name)))
            if kind is not None:
                raise _refused(f"the type {kind} of the column {column.name}")


def _rewrite_all(tree: exp.Expr) -> exp.Expr:
    """Rewrite each node, after those in it."""
    for node in reversed(list(tree.walk(bfs=False))):
        changed = _rewritten(node)
        if changed is not node:
            changed.type = node.type
            node.replace(changed)
    return tree


def _rewritten(node: exp.Expr) -> exp.Expr:
    """The node in a form that Spark computes as DuckDB does."""
    rewrite = _REWRITES.get(type(node))
    return rewrite(node) if rewrite else node


def _averaged(node: exp.Expr) -> exp.Expr:
    """An average as a DOUBLE. Of exact numbers it is that of their exact sum, as DuckDB has it."""
    value = node.this
    is_exact = _kind(value) in _WHOLE | _WIDE | _DECIMALS and not isinstance(value, exp.Distinct)
    if not is_exact or isinstance(node.parent, exp.Window | exp.Filter):
        return exp.Avg(this=_as(value, "DOUBLE"))
    count = exp.Nullif(this=exp.Count(this=value.copy()), expression=exp.Literal.number(0))
    total = exp.Sum(this=value if _kind(value) in _DECIMALS else _as(value, "DECIMAL(38, 0)"))
    return exp.Paren(this=exp.Div(this=_as(total, "DOUBLE"), expression=_as(count, "DOUBLE"), typed=True, safe=False))


def _summed(node: exp.Expr) -> exp.Expr:
    """A sum of whole numbers. In 64 bits, Sail, and Spark without its ANSI mode, would wrap around silently."""
    value = node.this
    if _kind(value) not in _WHOLE | _WIDE:
        return node
    if isinstance(value, exp.Distinct):
        return exp.Sum(this=exp.Distinct(expressions=[_as(one, "DECIMAL(38, 0)") for one in value.expressions]))
    return exp.Sum(this=_as(value, "DECIMAL(38, 0)"))


def _divided(node: exp.Expr) -> exp.Expr:
    """DuckDB divides all numbers as floating-point ones."""
    if exp.DType.INTERVAL in {_kind(node.this), _kind(node.expression)}:
        raise _refused("the division of an interval")
    return exp.Div(this=_as(node.this, "DOUBLE"), expression=_as(node.expression, "DOUBLE"), typed=True, safe=False)


def _cast(node: exp.Expr) -> exp.Expr:
    """A cast to an equal type, which rounds as DuckDB does."""
    written = node.args["to"]
    to, kind = written, written.this
    if kind in _CASTS:
        to = exp.DataType.build(_CASTS[kind], dialect="spark")
    elif kind not in _AS_THEY_ARE:
        raise _refused(f"a cast to {written.sql(dialect='duckdb')}")
    value, known = node.this, _kind(node.this)
    if kind in (_WHOLE | _WIDE) - {exp.DType.BOOLEAN}:
        if known in _FLOATING and not isinstance(value, exp.Round | exp.Floor | exp.Ceil):
            # DuckDB rounds halves to even, and Spark cuts them off. Sail's own function for the former has a fault.
            raise _refused(f"a cast of a DOUBLE to {written.sql(dialect='duckdb')}: use round, floor or ceil first")
        if known in _DECIMALS:
            value = exp.Round(this=value, decimals=exp.Literal.number(0))
        elif known not in _WHOLE | _WIDE | _TEXTS | _FLOATING | {exp.DType.NULL}:
            raise _refused(f"a cast to {written.sql(dialect='duckdb')} of a value whose type is not known")
    if kind in _TEXTS and known in _FLOATING | _NESTED | {None}:
        raise _refused("a cast to VARCHAR of a number with a fraction, of a nested value, or of one of unknown type")
    return type(node)(this=value, to=to, **({"safe": True} if isinstance(node, exp.TryCast) else {}))


def _joined(node: exp.Expr) -> exp.Expr:
    """DuckDB joins the texts of all values, and leaves out NULL."""
    some = []
    for one in node.expressions:
        if _kind(one) not in _TEXTS | _WHOLE | _WIDE | _DECIMALS | {exp.DType.DATE, exp.DType.NULL}:
            raise _refused("concat of a value with another type than text, a whole number, a DECIMAL or a DATE")
        some.append(exp.Coalesce(this=_as(one, "STRING"), expressions=[exp.Literal.string("")]))
    return exp.Concat(expressions=some, safe=True, coalesce=False)


def _all_groups(node: exp.Expr) -> exp.Expr:
    """The columns without an aggregate: not every server knows GROUP BY ALL."""
    select = node.parent
    if not node.args.get("all"):
        return node
    chosen = select.selects if isinstance(select, exp.Select) else []
    keys = [one.unalias() for one in chosen if not one.find(exp.AggFunc) or one.find(exp.Window)]
    return exp.Group(expressions=[one.copy() for one in keys if not isinstance(one, exp.Literal)])


def _difference(node: exp.Expr) -> exp.Expr:
    """The days between two dates are a number to DuckDB, and an interval to Spark."""
    operands = [node.this, node.expression]
    if isinstance(node, exp.DateDiff):
        operands = [_as(one, "DATE") for one in operands]
    elif {_kind(one) for one in operands} != {exp.DType.DATE}:
        return node
    return exp.Anonymous(this="DATEDIFF", expressions=operands)


def _as(value: exp.Expr, kind: str) -> exp.Expr:
    return exp.Cast(this=value, to=exp.DataType.build(kind, dialect="spark"))


def _kind(node: exp.Expr) -> exp.DType | None:
    """The type of a node, as far as it is known."""
    if isinstance(node, exp.Paren | exp.Distinct):
        return _kind(node.this or node.expressions[0])
    found = node.type
    return None if found is None or found.this is exp.DType.UNKNOWN else found.this


_REWRITES: Mapping[type[exp.Expr], Callable[[exp.Expr], exp.Expr]] = {
    exp.Div: _divided,
    exp.Avg: _averaged,
    exp.Sum: _summed,
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.Concat: _joined,
    exp.Group: _all_groups,
    exp.Sub: _difference,
    exp.DateDiff: _difference,
}
