"""Diffs of two versions, compared with a computation by hand."""

import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.engines.duckdb.reader import DuckDBReader
from orchestrator.model.diff import DiffPlan, comparison
from orchestrator.model.errors import InputMissing, Invalid, OutOfMemory
from orchestrator.model.reading import ReadPlan, ResultFormat
from orchestrator.model.run import SnapshotRelation
from orchestrator.model.snapshot import Column
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import LIMITS, WholeEngine, file_url, make_plan, snapshot

Json = dict[str, Any]

# For each type some values, each with a label: values of one label are equal. None is NULL.
POOLS: dict[str, list[tuple[str, str | None]]] = {
    "INTEGER": [("NULL", None), ("1", "1"), ("2", "2"), ("-3", "-3")],
    "VARCHAR": [("NULL", None), ("''", ""), ("'é''\"'", "e"), ("'É''\"'", "E"), ("'null'", "null")],
    "DOUBLE": [("NULL", None), ("'nan'", "nan"), ("0.0", "0"), ("-0.0", "0"), ("1.5", "1.5"), ("'inf'", "inf")],
    "DECIMAL(5,2)": [("NULL", None), ("1.50", "1.5"), ("-0.01", "-")],
    "HUGEINT": [("NULL", None), ("1", "1"), ("-170141183460469231731687303715884105727", "-")],
    "INTERVAL": [("NULL", None), ("'1 month'", "m"), ("'30 days'", "d"), ("'720 hours'", "h")],
    "BLOB": [("NULL", None), ("'\\x00\\xFF'", "0f"), ("''", ""), ("'a'", "a")],
    "DOUBLE[]": [
        ("NULL", None),
        ("[]", "[]"),
        ("[NULL]", "[n]"),
        ("['nan'::DOUBLE, 0.0]", "[nan]"),
        ("['nan'::DOUBLE, -0.0]", "[nan]"),
    ],
    "STRUCT(a INTEGER, b VARCHAR)": [("NULL", None), ("{'a': NULL, 'b': 'x'}", "nx"), ("{'a': 1, 'b': NULL}", "1n")],
    "MAP(VARCHAR, INTEGER)": [("NULL", None), ("MAP {}", "{}"), ("MAP {'k': 1}", "k1"), ("MAP {'k': NULL}", "kn")],
    "JSON": [("NULL", None), ("'{\"a\": 1}'", "1"), ("'{\"a\":1}'", "2"), ("'null'", "n")],
    "ENUM('b', 'a')": [("NULL", None), ("'a'", "a"), ("'b'", "b")],
    "TIMESTAMP WITH TIME ZONE": [("NULL", None), ("'2024-01-02 03:04:05+00'", "1"), ("'2024-01-02 04:04:05+01'", "1")],
    "TIME WITH TIME ZONE": [("NULL", None), ("'03:04:05+00'", "1"), ("'04:04:05+01'", "2")],
    "BIT": [("NULL", None), ("'01'", "01"), ("'1'", "1")],
    "UUID": [("NULL", None), ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "a")],
    "GEOMETRY": [("NULL", None), ("'POINT (1 2)'", "1"), ("'POINT (2 1)'", "2")],
}
HOSTILE = [
    "key",
    "v0",
    "c0",
    'a "quoted" ü',
    "select",
    "kind",
    "n",
    "f",
    "t",
    "shown",
    "has",
    "side",
    "a.b",
    "K0 ",
    "'",
]


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[DuckDBReader]:
    (tmp_path / "scratch").mkdir()
    opened = DuckDBReader(source_roots=[], private=[], temp_dir=tmp_path / "scratch", queries=4, of_project=2)
    await opened.start()
    yield opened
    await opened.close()


class Versions:
    """Versions in a folder of one project, and their diffs."""

    def __init__(self, engine: WholeEngine, reader: DuckDBReader, folder: Path) -> None:
        self._engine = engine
        self._reader = reader
        self._folder = folder
        self.limits = LIMITS.model_copy(update={"memory_mb": 300, "temp_disk_mb": 1000})

    async def write(self, sql: str) -> SnapshotRelation:
        folder = self._folder / "project" / uuid4().hex
        folder.mkdir(parents=True)
        written = await self._engine.write(make_plan(sql), file_url, WriteTarget.local(folder), lambda _: None)
        return snapshot("v", folder, written)

    async def rows(self, version: SnapshotRelation) -> list[Any]:
        """The rows as the API gives them, with no sign of a zero."""
        plan = ReadPlan(
            sql="SELECT * FROM v",
            relations=(version,),
            format=ResultFormat.JSON,
            limits=self.limits,
            timeout_seconds=60,
        )
        session = self._reader.session(1, str(self._folder / "project"), self.limits)
        async with session as opened, opened.read(plan, file_url) as stream:
            found: list[Any] = normal(json.loads(b"[" + b"".join([chunk async for chunk in stream.chunks()]) + b"]"))
            return found

    async def diff(
        self, before: SnapshotRelation, after: SnapshotRelation, key: Sequence[str] = (), *, rows: int = 1000
    ) -> Json:
        compared = comparison(before.columns, after.columns, key)
        plan = DiffPlan(
            before=before.model_copy(update={"name": "v (from)"}),
            after=after.model_copy(update={"name": "v (to)"}),
            names=tuple((pair.before.name, pair.after.name) for pair in compared.pairs),
            key=compared.key,
            has_same_columns=compared.has_same_columns,
            rows=rows,
            limits=self.limits,
            timeout_seconds=60,
        )
        session = self._reader.session(1, str(self._folder / "project"), self.limits)
        async with session as opened, opened.diff(plan, file_url) as stream:
            text = b"".join([chunk async for chunk in stream.chunks()])
        found: Json = normal(json.loads(b"{" + text + b"}"))
        return found

    async def of(self, before: str, after: str, key: Sequence[str] = (), *, rows: int = 1000) -> Json:
        return await self.diff(await self.write(before), await self.write(after), key, rows=rows)


@pytest.fixture
def versions(engine: WholeEngine, reader: DuckDBReader, tmp_path: Path) -> Versions:
    return Versions(engine, reader, tmp_path)


def normal(value: Any) -> Any:
    if isinstance(value, list):
        return [normal(one) for one in value]
    if isinstance(value, dict):
        return {name: normal(one) for name, one in value.items()}
    return 0.0 if isinstance(value, float) and value == 0 else value


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[tuple[str, str | None]]]) -> str:
    """A SELECT of these rows, whose columns have these names and types."""
    shown = ", ".join(quoted(name) for name, _ in columns)
    if not rows:
        nulls = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in columns)
        return f"SELECT {nulls} WHERE false"
    values = ", ".join(
        f"({', '.join(f'CAST({sql} AS {kind})' for (sql, _), (_, kind) in zip(row, columns, strict=True))})"
        for row in rows
    )
    return f"SELECT * FROM (VALUES {values}) AS x({shown})"


Labels = tuple[str | None, ...]


def by_hand(before: Sequence[Labels], after: Sequence[Labels], key: Sequence[int]) -> dict[str, int]:
    """The numbers of rows that differ, computed row by row."""

    def key_of(row: Labels) -> Labels:
        return tuple(row[n] for n in key)

    counts = [Counter(map(key_of, rows)) for rows in (before, after)]

    def is_keyed(row: Labels) -> bool:
        own = key_of(row)
        return bool(key) and None not in own and all(count[own] <= 1 for count in counts)

    earlier = {key_of(row): row for row in before if is_keyed(row)}
    later = {key_of(row): row for row in after if is_keyed(row)}
    rest = [Counter(row for row in rows if not is_keyed(row)) for rows in (before, after)]
    added = len(later.keys() - earlier.keys()) + (rest[1] - rest[0]).total()
    removed = len(earlier.keys() - later.keys()) + (rest[0] - rest[1]).total()
    changed = sum(earlier[one] != later[one] for one in earlier.keys() & later.keys())
    return {"added": added, "removed": removed, "changed": changed, "unchanged": len(after) - added - changed}


def applied(rows: Sequence[Any], diff: Json) -> Counter[str]:
    """The rows, each as JSON, once the diff was applied to them."""
    found = Counter(map(json.dumps, rows))
    for one in diff["removed"]:
        found[json.dumps(one["row"])] -= one["count"]
    for one in diff["changed"]:
        found[json.dumps(one["from"])] -= 1
        found[json.dumps(one["to"])] += 1
    for one in diff["added"]:
        found[json.dumps(one["row"])] += one["count"]
    assert min(found.values(), default=0) >= 0, "what was removed had been there"
    return +found


@pytest.mark.parametrize("seed", range(12))
async def test_a_diff_of_random_tables_is_that_of_a_computation_by_hand_and_leads_from_one_to_the_other(
    versions: Versions, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    kinds = [chance.choice(list(POOLS)) for _ in range(chance.randint(1, 4))]
    names = chance.sample(HOSTILE, len(kinds))
    columns = list(zip(names, kinds, strict=True))

    def rows(number: int) -> list[list[tuple[str, str | None]]]:
        return [[chance.choice(POOLS[kind]) for kind in kinds] for _ in range(number)]

    common, own = rows(chance.randint(0, 4)), chance.randint(0, 5)
    tables = [common + rows(own), common + rows(chance.randint(0, 5))]
    for one in tables:
        chance.shuffle(one)
    before, after = [await versions.write(table(columns, one)) for one in tables]
    labels = [[tuple(label for _, label in row) for row in one] for one in tables]
    for key in ([], [0], list(range(len(kinds)))):
        diff = await versions.diff(before, after, [names[n] for n in key])
        expected = by_hand(labels[0], labels[1], key)
        assert diff["rows"] == expected, (columns, tables, key)
        assert diff["is_identical"] == (not any(expected[name] for name in ("added", "removed", "changed")))
        there, here = await versions.rows(before), await versions.rows(after)
        assert applied(there, diff) == Counter(map(json.dumps, here))
        again = await versions.diff(before, after, [names[n] for n in key])
        assert again == diff, "the rows that are shown are the same each time"


@pytest.mark.parametrize("kind", POOLS)
async def test_every_type_can_be_a_key_and_a_value(versions: Versions, kind: str) -> None:
    values = [value for value in POOLS[kind] if value[1] is not None]
    labels = {label for _, label in values}
    rows = [[value, ("1", "1")] for value in {label: value for value in values for label in [value[1]]}.values()]
    columns = [("k", kind), ("n", "INTEGER")]
    changed = [[key, ("2", "2")] for key, _ in rows]
    diff = await versions.of(table(columns, rows), table(columns, changed), ["k"])
    assert diff["rows"] == {"added": 0, "removed": 0, "changed": len(labels), "unchanged": 0}
    assert diff["changed_columns"] == [{"name": "n", "rows": len(labels)}]
    assert all(one["columns"] == ["n"] and one["from"][0] == one["to"][0] for one in diff["changed"])


async def test_a_changed_row_has_both_sides_and_the_columns_in_which_they_differ(versions: Versions) -> None:
    before = "SELECT * FROM (VALUES (1, 'a', 1.5), (2, 'b', 2.5), (3, 'c', NULL)) t(id, name, x)"
    after = "SELECT * FROM (VALUES (2, 'B', 2.5), (3, 'c', 3.5), (4, 'd', 4.5)) t(id, name, x)"
    assert await versions.of(before, after, ["id"]) == {
        "is_identical": False,
        "rows": {"added": 1, "removed": 1, "changed": 2, "unchanged": 0},
        "key_faults": {
            "from": {"null_keys": 0, "repeated_keys": 0, "repeated_rows": 0},
            "to": {"null_keys": 0, "repeated_keys": 0, "repeated_rows": 0},
        },
        "changed_columns": [{"name": "name", "rows": 1}, {"name": "x", "rows": 1}],
        "added": [{"count": 1, "row": [4, "d", 4.5]}],
        "removed": [{"count": 1, "row": [1, "a", 1.5]}],
        "changed": [
            {"columns": ["name"], "from": [2, "b", 2.5], "to": [2, "B", 2.5]},
            {"columns": ["x"], "from": [3, "c", None], "to": [3, "c", 3.5]},
        ],
    }


async def test_rows_with_null_or_a_repeated_value_in_the_key_are_counted_and_compared_as_wholes(
    versions: Versions,
) -> None:
    before = "SELECT * FROM (VALUES (1, 'a'), (1, 'b'), (NULL, 'n'), (NULL, 'n'), (2, 'x')) t(id, name)"
    after = "SELECT * FROM (VALUES (1, 'b'), (NULL, 'n'), (NULL, 'm'), (2, 'y'), (2, 'z')) t(id, name)"
    diff = await versions.of(before, after, ["id"])
    assert diff["key_faults"] == {
        "from": {"null_keys": 2, "repeated_keys": 1, "repeated_rows": 2},
        "to": {"null_keys": 2, "repeated_keys": 1, "repeated_rows": 2},
    }
    assert diff["rows"] == {"added": 3, "removed": 3, "changed": 0, "unchanged": 2}
    assert [one["row"] for one in diff["removed"]] == [[1, "a"], [2, "x"], [None, "n"]]
    assert [one["row"] for one in diff["added"]] == [[2, "y"], [2, "z"], [None, "m"]]


async def test_without_a_key_rows_count_as_often_as_they_occur(versions: Versions) -> None:
    before = "SELECT 'a' AS x FROM range(5) UNION ALL SELECT 'b'"
    after = "SELECT 'a' AS x FROM range(2) UNION ALL SELECT 'c' FROM range(3)"
    diff = await versions.of(before, after)
    assert diff["rows"] == {"added": 3, "removed": 4, "changed": 0, "unchanged": 2}
    assert diff["removed"] == [{"count": 3, "row": ["a"]}, {"count": 1, "row": ["b"]}]
    assert diff["added"] == [{"count": 3, "row": ["c"]}]


async def test_only_columns_that_both_have_are_compared_and_names_ignore_case_as_in_sql(versions: Versions) -> None:
    before = "SELECT 1 AS id, 'a' AS Name, 5 AS gone"
    diff = await versions.of(before, "SELECT 9 AS fresh, 'a' AS name, 1 AS ID", ["Id"])
    assert diff["rows"] == {"added": 0, "removed": 0, "changed": 0, "unchanged": 1}
    assert not diff["is_identical"], "the columns differ"


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("1::INTEGER", "1::BIGINT", 0),
        ("1::INTEGER", "1.00::DECIMAL(10,2)", 0),
        ("1.50::DECIMAL(10,2)", "1.5::DECIMAL(3,1)", 0),
        ("0.50::DECIMAL(2,2)", "0.5::DECIMAL(38,1)", 0),
        ("100::INTEGER", "100::HUGEINT", 0),
        ("100::DECIMAL(3,0)", "10::INTEGER", 1),
        ("170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727::UHUGEINT", 0),
        ("1::INTEGER", "1::DOUBLE", 0),
        ("1::INTEGER", "'1'::VARCHAR", 0),
        ("'x'::VARCHAR", "1::INTEGER", 1),
        ("NULL::INTEGER", "NULL::VARCHAR", 0),
        ("'a'::ENUM('a')", "'a'::ENUM('b', 'a')", 0),
        ("'a' COLLATE NOCASE", "'A'", 1),
        ("{'a': 1}", "{'a': 1::BIGINT}", 0),
        ("'POINT (1 2)'::GEOMETRY", "'POINT (1 2)'", 0),
    ],
)
async def test_a_column_of_another_type_is_compared_as_a_number_or_as_text(
    versions: Versions, before: str, after: str, changed: int
) -> None:
    one, other = [await versions.write(f"SELECT 7 AS id, {value} AS x") for value in (before, after)]
    keyed = await versions.diff(one, other, ["id"])
    assert keyed["rows"]["changed"] == changed
    plain = await versions.diff(one, other)
    assert (plain["rows"]["added"], plain["rows"]["removed"]) == (changed, changed)
    as_key = await versions.diff(one, other, ["x"])
    has_key = not before.startswith("NULL")
    assert as_key["rows"]["added"] == changed
    assert (as_key["key_faults"]["to"]["null_keys"] == 0) is has_key


async def test_a_hugeint_that_is_stored_as_text_in_one_version_equals_the_number_in_the_other(
    versions: Versions,
) -> None:
    wide = f"{'9' * 38}::HUGEINT * 1 + 10"
    before, after = "SELECT 5::HUGEINT AS x", f"SELECT 5::HUGEINT AS x UNION ALL SELECT {wide}"
    diff = await versions.of(before, after, ["x"])
    assert diff["rows"] == {"added": 1, "removed": 0, "changed": 0, "unchanged": 1}
    assert diff["added"] == [{"count": 1, "row": [int("9" * 38) + 10]}]


async def test_versions_without_rows_and_without_a_common_column_can_be_compared(versions: Versions) -> None:
    empty, full = "SELECT 1 AS a WHERE false", "SELECT 1 AS a"
    for key in ([], ["a"]):
        assert (await versions.of(empty, empty, key))["is_identical"]
        assert (await versions.of(empty, full, key))["rows"]["added"] == 1
        assert (await versions.of(full, empty, key))["rows"]["removed"] == 1
    diff = await versions.of(full, "SELECT 2 AS b FROM range(3)")
    assert diff["rows"] == {"added": 3, "removed": 1, "changed": 0, "unchanged": 0}
    assert (diff["added"], diff["removed"]) == ([], [])


async def test_the_first_rows_are_shown_in_the_order_of_the_key_and_all_are_counted(versions: Versions) -> None:
    before = "SELECT i AS id, i AS x FROM range(5000) t(i) ORDER BY hash(i)"
    after = "SELECT i + 2000 AS id, i + 2001 AS x FROM range(5000) t(i) ORDER BY hash(i)"
    diff = await versions.of(before, after, ["id"], rows=3)
    assert diff["rows"] == {"added": 2000, "removed": 2000, "changed": 3000, "unchanged": 0}
    assert [one["row"][0] for one in diff["added"]] == [5000, 5001, 5002]
    assert [one["row"][0] for one in diff["removed"]] == [0, 1, 2]
    assert [one["to"][0] for one in diff["changed"]] == [2000, 2001, 2002]
    nothing_shown = await versions.of(before, after, ["id"], rows=0)
    assert nothing_shown["rows"] == diff["rows"]
    assert [nothing_shown[name] for name in ("added", "removed", "changed")] == [[], [], []]


async def test_a_diff_of_many_files_and_rows_keeps_to_the_memory_of_a_read(versions: Versions) -> None:
    sql = "SELECT i AS id, md5(i::VARCHAR) AS text, i % {} AS x FROM range(1500000) t(i)"
    versions.limits = LIMITS.model_copy(update={"memory_mb": 96, "temp_disk_mb": 4000})
    diff = await versions.of(sql.format(1000), sql.format(1000) + " WHERE i <> 77", ["id"])
    assert diff["rows"] == {"added": 0, "removed": 1, "changed": 0, "unchanged": 1499999}


async def test_a_diff_that_does_not_fit_into_its_limits_says_so_and_the_next_one_works(versions: Versions) -> None:
    usual = versions.limits
    versions.limits = LIMITS.model_copy(update={"memory_mb": 64, "temp_disk_mb": 1})
    sql = "SELECT i AS id, md5(i::VARCHAR) AS text FROM range(1000000) t(i)"
    before, after = await versions.write(sql), await versions.write(sql + " WHERE i > 5")
    with pytest.raises(OutOfMemory):
        await versions.diff(before, after, ["id"])
    versions.limits = usual
    assert (await versions.diff(before, after, ["id"]))["rows"]["removed"] == 6


async def test_a_file_that_is_gone_is_named_by_its_view_and_not_by_its_path(versions: Versions, tmp_path: Path) -> None:
    before, after = await versions.write("SELECT 1 AS a"), await versions.write("SELECT 2 AS a")
    Path(before.location, before.files[0].name).unlink()
    with pytest.raises(InputMissing) as raised:
        await versions.diff(before, after)
    assert str(tmp_path) not in raised.value.message


def test_a_key_must_be_in_both_versions_and_once() -> None:
    columns: Callable[[str], Any] = lambda names: [Column(name=one, duckdb_type="INTEGER") for one in names]  # noqa: E731
    for key in (["c"], ["a", "A"], ["a"] * 33):
        with pytest.raises(Invalid) as raised:
            comparison(columns("ab"), columns("ac"), key)
        assert raised.value.attr == "key"
