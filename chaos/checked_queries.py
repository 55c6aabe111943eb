"""Statements that say of themselves what their result must be, so that whoever reads one can check it.

Every row carries the revision of the statement (`rev`, a number that is used once in a whole chaos run), the view that
it belongs to, a hash over both, and `stamp`, the moment of the query that made it. A result that is cut, mixed from two
runs, or another view's cannot pass.
"""

# ruff: noqa: S608 - composing SQL is what this module is for; nothing in it comes from outside

import re
from dataclasses import dataclass
from enum import StrEnum
from random import Random

BULK_COLUMNS = 20
# More than one file: 320 MB that cannot be compressed, and files are begun anew after 256 MB.
BULK_ROWS = 2_000_000
_REVISION = re.compile(r"SELECT (\d+)::BIGINT AS rev")
_ROWS = (0, 1, 1_000, 20_000, 100_000, 200_000)
# One busy moment for each block of rows that DuckDB works on, so that files are open while the query is slow.
_BLOCK = 2_048
# What DuckDB takes to compare one letter with another: no view may just sleep.
_MILLISECONDS_A_PAIR = 7e-6


class QueryKind(StrEnum):
    """What a statement does. The last three never give a result."""

    PLAIN = "plain"
    SLOW = "slow"
    BULK = "bulk"
    READER = "reader"
    FAILING = "failing"
    GREEDY = "greedy"
    ENDLESS = "endless"


NO_RESULT_KINDS = frozenset({QueryKind.FAILING, QueryKind.GREEDY, QueryKind.ENDLESS})


@dataclass(frozen=True)
class CheckedQuery:
    """A statement of the view `view`, and what is to be seen of it. `rows` None: as many as its input has."""

    rev: int
    view: int
    kind: QueryKind
    rows: int | None
    sql: str


def make_query(rev: int, view: int, kind: QueryKind, random: Random, reads: str | None = None) -> CheckedQuery:
    """A new statement of that kind. `reads` is the name of the view that a reader reads."""
    if kind is QueryKind.READER:
        return CheckedQuery(rev, view, kind, None, _reader(rev, view, str(reads)))
    rows = _rows(kind, random)
    more = ""
    if kind is QueryKind.SLOW:
        blocks = max(1, rows // _BLOCK)
        pause = int(random.uniform(500, 4_000) / blocks)
        more = f", {_busy(pause)} AS much"
    elif kind is QueryKind.ENDLESS:
        more = f", {_busy(100)} AS much"
    elif kind is QueryKind.FAILING:
        more = f", CASE WHEN i = {rows // 2} THEN error('no luck') ELSE 'well' END AS luck"
    elif kind is QueryKind.GREEDY:
        more = ", (SELECT length(string_agg(md5(j::VARCHAR), ',')) FROM range(100000000) u(j)) AS much"
    elif kind is QueryKind.BULK:
        more = "".join(f", hash(i, {number}, {rev}) AS c{number}" for number in range(BULK_COLUMNS))
    return CheckedQuery(rev, view, kind, rows, _base(rev, view, rows, more))


def _busy(milliseconds: int) -> str:
    """Something that takes about so long for each block of rows, and hardly any memory."""
    length = round((milliseconds / _MILLISECONDS_A_PAIR) ** 0.5)
    distance = f"levenshtein(repeat('a', {length}), repeat('b', {length}) || i::VARCHAR)"
    return f"CASE WHEN i % {_BLOCK} = 0 THEN {distance} ELSE 0 END"


def revision_of(sql: str) -> int | None:
    """The revision that a statement of ours is."""
    found = _REVISION.search(sql)
    return int(found[1]) if found else None


def examining(files: str, columns: set[str]) -> str:
    """A statement that gives one row about a result: everything that is needed to judge it. `files` is an SQL list."""
    asked = {
        "rows": "count(*)",
        "total": "sum(n)",
        "first": "min(n)",
        "last": "max(n)",
        "hashed": f"bool_and(h = {_hash('view', 'rev', 'n')})",
    }
    for name in ("rev", "view", "stamp", "size", "rev_a", "rev_b", "stamp_a", "stamp_b"):
        if name in columns:
            asked |= {f"{name}_low": f"min({name})", f"{name}_high": f"max({name})"}
    if "c0" in columns:
        asked["filled"] = " AND ".join(f"bool_and(c{k} = hash(n, {k}, rev))" for k in range(0, BULK_COLUMNS, 7))
    listed = ", ".join(f"{expression} AS {name}" for name, expression in asked.items())
    return f"SELECT {listed} FROM read_parquet({files}, hive_partitioning = false)"


def _rows(kind: QueryKind, random: Random) -> int:
    if kind is QueryKind.BULK:
        return BULK_ROWS
    if kind is QueryKind.ENDLESS:
        return 1_000_000_000
    if kind is QueryKind.SLOW:
        return random.choice((20_000, 150_000))
    return random.choice(_ROWS if kind is QueryKind.PLAIN else _ROWS[2:])


def _base(rev: int, view: int, rows: int, more: str) -> str:
    return (
        f"SELECT {rev}::BIGINT AS rev, {view}::BIGINT AS view, i::BIGINT AS n, {_hash(str(view), str(rev), 'i')} AS h, "
        f"epoch_us(now()) AS stamp, {rows}::BIGINT AS size{more} FROM range({rows}) t(i)"
    )


def _reader(rev: int, view: int, reads: str) -> str:
    """Reads its input twice: were the two not the same version of it, its rows would show that."""
    return (
        f"SELECT {rev}::BIGINT AS rev, {view}::BIGINT AS view, a.n AS n, {_hash(str(view), str(rev), 'a.n')} AS h, "
        "epoch_us(now()) AS stamp, a.size AS size, "
        "a.rev AS rev_a, b.rev AS rev_b, a.stamp AS stamp_a, b.stamp AS stamp_b "
        f"FROM {reads} AS a JOIN {reads} AS b USING (n)"
    )


def _hash(view: str, rev: str, n: str) -> str:
    return f"md5(concat_ws(':', {view}, {rev}, {n}))"
