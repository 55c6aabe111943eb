"""Generates SQL statements whose rows say what the result must be, so that any reader can check it.

Every row carries the revision of the statement (`rev`, a number that is used once in a whole chaos run), the number of
its view, and a hash over both and the row's own number. `stamp` is the time at which its query ran. A result that is
truncated, mixed from two runs, or another view's fails the check.
"""

# ruff: noqa: S608 - composing SQL is what this module is for; nothing in it comes from outside

import re
from dataclasses import dataclass
from enum import StrEnum
from random import Random

# The source table: its name, and the rows of each of its contents.
SOURCE_TABLE = "chaos_source"
SOURCE_ROWS = 3_000
BULK_COLUMNS = 20
# 320 MB that cannot be compressed. The engine starts a new file after 256 MB, so that the result has more than one.
BULK_ROWS = 2_000_000
# Columns that have one value in all rows of a result.
CONSTANT = ("rev", "view", "stamp", "size", "rev_a", "rev_b", "stamp_a", "stamp_b", "content", "content_b")
_REVISION = re.compile(r"SELECT (\d+)::BIGINT AS rev")
_ROWS = (0, 1, 1_000, 20_000, 100_000, 200_000)
# DuckDB works on blocks of so many rows. The delay is spread over all blocks, so that files are open during it.
_BLOCK = 2_048
# The time in which DuckDB's levenshtein compares two letters. Queries are slowed by it, since views may not sleep.
_MILLISECONDS_A_PAIR = 7e-6


class QueryKind(StrEnum):
    """The kind of a statement. The last three never give a result.

    FILES reads the source table, CONTENT_READER a view that has its `content`, and FILES_AND_VIEW both.
    """

    PLAIN = "plain"
    SLOW = "slow"
    BULK = "bulk"
    READER = "reader"
    FILES = "files"
    CONTENT_READER = "content reader"
    FILES_AND_VIEW = "files and view"
    FAILING = "failing"
    GREEDY = "greedy"
    ENDLESS = "endless"


NO_RESULT_KINDS = frozenset({QueryKind.FAILING, QueryKind.GREEDY, QueryKind.ENDLESS})
SOURCE_KINDS = frozenset({QueryKind.FILES, QueryKind.CONTENT_READER, QueryKind.FILES_AND_VIEW})
# Both reads of their input must be of one moment.
READING_TWICE = frozenset({QueryKind.READER, QueryKind.FILES, QueryKind.CONTENT_READER})


@dataclass(frozen=True)
class CheckedQuery:
    """A statement of view number `view`, and the result it must have. `rows` is None if it has as many as its input."""

    rev: int
    view: int
    kind: QueryKind
    rows: int | None
    sql: str


def make_query(rev: int, view: int, kind: QueryKind, random: Random, reads: str | None = None) -> CheckedQuery:
    """Make a statement of that kind. `reads` is the name of the view that it selects from, if it is of such a kind."""
    reading = _reading(rev, view, kind, random, str(reads))
    if reading is not None:
        return CheckedQuery(rev, view, kind, None, reading)
    rows = _rows(kind, random)
    more = ""
    if kind is QueryKind.SLOW:
        blocks = max(1, rows // _BLOCK)
        pause = int(random.uniform(500, 4_000) / blocks)
        more = f", {_busy(pause, 'i')} AS much"
    elif kind is QueryKind.ENDLESS:
        more = f", {_busy(100, 'i')} AS much"
    elif kind is QueryKind.FAILING:
        more = f", CASE WHEN i = {rows // 2} THEN error('no luck') ELSE 'well' END AS luck"
    elif kind is QueryKind.GREEDY:
        more = ", (SELECT length(string_agg(md5(j::VARCHAR), ',')) FROM range(100000000) u(j)) AS much"
    elif kind is QueryKind.BULK:
        more = "".join(f", hash(i, {number}, {rev}) AS c{number}" for number in range(BULK_COLUMNS))
    return CheckedQuery(rev, view, kind, rows, _base(rev, view, rows, more))


def _busy(milliseconds: int, number: str) -> str:
    """An SQL expression that takes about so long for each block of rows, and hardly any memory.

    `number` is the number of a row in SQL.
    """
    length = round((milliseconds / _MILLISECONDS_A_PAIR) ** 0.5)
    distance = f"levenshtein(repeat('a', {length}), repeat('b', {length}) || {number}::VARCHAR)"
    return f"CASE WHEN {number} % {_BLOCK} = 0 THEN {distance} ELSE 0 END"


def revision_of(sql: str) -> int | None:
    """The revision number in the text of a statement from this module; None if there is none."""
    found = _REVISION.search(sql)
    return int(found[1]) if found else None


def examining(files: str, columns: set[str]) -> str:
    """A statement that returns one row with all that is needed to judge a result. `files` is an SQL list of paths."""
    asked = {
        "rows": "count(*)",
        "total": "sum(n)",
        "first": "min(n)",
        "last": "max(n)",
        "hashed": f"bool_and(h = {_hash('view', 'rev', 'n')})",
    }
    for name in CONSTANT:
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


def _reading(rev: int, view: int, kind: QueryKind, random: Random, reads: str) -> str | None:
    """A statement that reads a view or the source table; None for other kinds."""
    if kind is QueryKind.READER:
        return _reader(rev, view, reads)
    if kind is QueryKind.CONTENT_READER:
        # Long, so that the files can change before a view below it reads them.
        pause = _busy(int(random.uniform(500, 1_500)), "n")
        return f"{_reader(rev, view, reads, ', a.content AS content')} WHERE {pause} >= 0"
    if kind not in SOURCE_KINDS:
        return None
    # The pauses give the files time to change: between two reads of one query, and between those of two queries.
    # Two rows of each of up to four files take so long.
    pauses = [random.choice((0, random.uniform(50, 200))) for _ in range(2)]
    early, late = (f" AND {_busy(int(pause), 'n')} >= 0" if pause else "" for pause in pauses)
    if kind is QueryKind.FILES:
        return _files(rev, view, early, late)
    return _files_and_view(rev, view, reads, early)


def _reader(rev: int, view: int, reads: str, more: str = "") -> str:
    """A statement that reads its input twice. Its rows show whether both reads were of the same snapshot."""
    return (
        f"{_identified(rev, view)}, epoch_us(now()) AS stamp, a.size AS size, "
        f"a.rev AS rev_a, b.rev AS rev_b, a.stamp AS stamp_a, b.stamp AS stamp_b{more} "
        f"FROM {reads} AS a JOIN {reads} AS b USING (n)"
    )


def _files(rev: int, view: int, early: str, late: str) -> str:
    """A statement that reads the source table twice. It has no moment of its own, so that it need not run again."""
    return (
        f"{_identified(rev, view)}, a.rev AS stamp, a.size AS size, a.rev AS content, "
        "a.rev AS rev_a, b.rev AS rev_b, a.stamp AS stamp_a, b.stamp AS stamp_b "
        f"FROM {_newest(early)} AS a JOIN {_newest(late)} AS b USING (n)"
    )


def _files_and_view(rev: int, view: int, reads: str, early: str) -> str:
    """A statement that reads the source table, and a view that has its content: `content_b` is that of the view."""
    return (
        f"{_identified(rev, view)}, epoch_us(now()) AS stamp, a.size AS size, a.rev AS content, "
        "b.content AS content_b, b.stamp AS stamp_a "
        f"FROM {_newest(early)} AS a JOIN {reads} AS b USING (n)"
    )


def _newest(more: str) -> str:
    """The rows of the source table's newest content. `more` is appended to the condition."""
    return f"(SELECT * FROM {SOURCE_TABLE} WHERE rev = (SELECT max(rev) FROM {SOURCE_TABLE}){more})"


def _identified(rev: int, view: int) -> str:
    """The beginning of a statement that reads `a`, with the columns that say whose result it is."""
    return f"SELECT {rev}::BIGINT AS rev, {view}::BIGINT AS view, a.n AS n, {_hash(str(view), str(rev), 'a.n')} AS h"


def _hash(view: str, rev: str, n: str) -> str:
    return f"md5(concat_ws(':', {view}, {rev}, {n}))"
