"""Checks of a result before it is published: each type, with rows that pass, rows that fail, and NULLs."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pytest

from orchestrator.engines.base import QueryResult
from orchestrator.engines.duckdb.engine import DuckDBEngine
from orchestrator.model.check import (
    CheckResult,
    CheckStatus,
    CheckType,
    PlannedCheck,
    Severity,
    checked_assertion,
)
from orchestrator.model.run import Relation, Shape
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import SourceFormat
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import file_url, make_plan, source, view

ROWS = "SELECT * FROM (VALUES (1, 'a', 10), (2, 'b', NULL), (2, 'b', 30), (4, NULL, 40)) t(id, kind, amount)"
NOTHING = f"SELECT * FROM ({ROWS}) WHERE false"
PASSED, FAILED, ERROR = CheckStatus.PASSED, CheckStatus.FAILED, CheckStatus.ERROR


def check(kind: str, column: str = "", to_name: str | None = None, reads: Any = (), **config: Any) -> PlannedCheck:
    assertion = checked_assertion(CheckType(kind), column, config)
    return PlannedCheck(
        id=uuid4(), label=str(assertion), severity=Severity.ERROR, assertion=assertion, to_name=to_name, reads=reads
    )


class Written:
    """The result of a query with its checks, and the folder that it was written into."""

    def __init__(self, result: QueryResult, folder: Path) -> None:
        self.result, self.folder = result, folder

    @property
    def only(self) -> CheckResult:
        (one,) = self.result.checks
        return one

    def sample(self, one: CheckResult) -> list[tuple[Any, ...]]:
        assert one.sample is not None
        return duckdb.read_parquet(str(self.folder / one.sample)).fetchall()


async def write(
    engine: DuckDBEngine,
    folder: Path,
    sql: str,
    *checks: PlannedCheck,
    others: tuple[Relation, ...] = (),
    current: Shape | None = None,
    seconds: float = 60,
) -> Written:
    target = folder / uuid4().hex
    target.mkdir()
    plan = make_plan(sql).model_copy(
        update={
            "name": "orders",
            "checks": checks,
            "check_relations": others,
            "current": current,
            "timeout_seconds": seconds,
        }
    )
    return Written(await engine.write(plan, file_url, WriteTarget.local(target), lambda _: None), target)


@pytest.mark.parametrize(
    ("made", "failing"),
    [
        (check("not_null", "id"), 0),
        (check("not_null", "AMOUNT"), 1),
        (check("not_null", columns=["kind", "amount"]), 2),
        (check("not_null", "amount", where="id > 2"), 0),
        (check("unique", "amount"), 0),
        (check("unique", "id"), 1),
        (check("unique", "kind"), 1),
        (check("unique", columns=["id", "amount"]), 0),
        (check("unique", columns=["id", "kind"]), 1),
        (check("unique", "id", where="amount IS NOT NULL"), 0),
        (check("accepted_values", "kind", values=["a", "b"]), 0),
        (check("accepted_values", "kind", values=["a"]), 2),
        (check("accepted_values", "id", values=[1, "2"]), 1),
        (check("accepted_values", "kind", values=["it's"]), 3),
        (check("row_count", min=4, max=4), 0),
        (check("row_count", min=5), 1),
        (check("row_count", max=3), 1),
        (check("row_count", max=1, where="kind = 'a'"), 0),
        (check("custom_sql", query="SELECT 1 FROM orders WHERE id < 0"), 0),
        (check("custom_sql", query="SELECT id FROM Orders WHERE id > 1; -- all of these"), 3),
        (
            check("relationships", "id", "orders", to_subject_type="view", to_subject_uuid=uuid4(), to_column="amount"),
            4,
        ),
    ],
    ids=lambda value: str(value.assertion) if isinstance(value, PlannedCheck) else str(value),
)
async def test_a_check_counts_the_rows_that_fail(
    engine: DuckDBEngine, tmp_path: Path, made: PlannedCheck, failing: int
) -> None:
    written = await write(engine, tmp_path, ROWS, made)
    assert (written.only.status, written.only.failing_rows) == (FAILED if failing else PASSED, failing), written.only
    if failing:
        assert len(written.sample(written.only)) == failing
        assert written.result.samples[0].name == written.only.sample
    else:
        assert written.only.sample is None
        assert not written.result.samples
    assert written.result.rows == 4


async def test_each_check_has_its_own_result_beside_the_others(engine: DuckDBEngine, tmp_path: Path) -> None:
    checks = (
        check("not_null", "amount"),
        check("not_null", "no_such_column"),
        check("unique", "id"),
        check("not_null", "id"),
        check("custom_sql", query="SELECT nonsense FROM orders"),
    )
    found = (await write(engine, tmp_path, ROWS, *checks)).result.checks
    assert [one.status for one in found] == [FAILED, ERROR, FAILED, PASSED, ERROR]
    assert [one.check_id for one in found] == [one.id for one in checks]
    assert "no_such_column" in (found[1].reason or "")
    assert found[1].failing_rows is None


async def test_no_rows_pass_every_check_of_rows(engine: DuckDBEngine, tmp_path: Path) -> None:
    checks = (check("not_null", "id"), check("unique", "id"), check("accepted_values", "kind", values=["x"]))
    fresh = check("freshness", "at", max_age_minutes=5)
    found = (await write(engine, tmp_path, f"SELECT *, now() AS at FROM ({NOTHING})", *checks, fresh)).result.checks
    assert [one.status for one in found] == [PASSED, PASSED, PASSED, FAILED], "without a moment, nothing is fresh"


@pytest.mark.parametrize(
    ("moment", "status"),
    [
        ("now()", PASSED),
        ("now() - INTERVAL 10 MINUTE", FAILED),
        ("(now() AT TIME ZONE 'UTC')::TIMESTAMP", PASSED),
        ("current_date", PASSED),
        ("current_date - 3", FAILED),
        ("NULL::TIMESTAMP", FAILED),
    ],
)
async def test_freshness_looks_at_the_latest_moment(
    engine: DuckDBEngine, tmp_path: Path, moment: str, status: CheckStatus
) -> None:
    minutes = 2 * 24 * 60 if "current_date" in moment else 5
    sql = f"SELECT {moment} AS at UNION ALL SELECT now() - INTERVAL 10 YEAR"
    made = check("freshness", "at", max_age_minutes=minutes, where="true")
    assert (await write(engine, tmp_path, sql, made)).only.status is status


async def test_relationships_look_into_another_relation(engine: DuckDBEngine, tmp_path: Path, data: Path) -> None:
    path = data / "kinds.csv"
    path.write_text("name\na\nc\n")
    kinds = source("kinds", SourceFormat.CSV_WITH_NAMES, str(path), [Column(name="name", duckdb_type="VARCHAR")])
    made = check("relationships", "kind", "kinds", to_subject_type="table", to_subject_uuid=kinds.id, to_column="name")
    written = await write(engine, tmp_path, ROWS, made, others=(kinds,))
    assert written.only.failing_rows == 2, "b twice; NULL refers to nothing"
    assert {row[1] for row in written.sample(written.only)} == {"b"}
    rows = check("custom_sql", reads=("kinds",), query="SELECT * FROM kinds k ANTI JOIN orders o ON k.name = o.kind")
    assert (await write(engine, tmp_path, ROWS, rows, others=(kinds,))).only.failing_rows == 1
    assert path.exists()


async def test_a_view_that_reads_the_checked_one_shows_the_new_result_to_a_check(
    engine: DuckDBEngine, tmp_path: Path
) -> None:
    negative = view("below_zero", "SELECT * FROM orders WHERE id < 3")
    made = check("custom_sql", query="SELECT * FROM below_zero", reads=("below_zero",))
    assert (await write(engine, tmp_path, ROWS, made, others=(negative,))).only.failing_rows == 3


async def test_what_cannot_be_read_fails_the_checks_that_read_it_and_no_others(
    engine: DuckDBEngine, tmp_path: Path, data: Path
) -> None:
    path = data / "kinds.csv"
    path.write_text("name\na\nb\n")
    column = Column(name="name", duckdb_type="VARCHAR")
    kinds = source("kinds", SourceFormat.CSV_WITH_NAMES, str(path), [column])
    gone = source("gone", SourceFormat.CSV_WITH_NAMES, str(path), [Column(name="x", duckdb_type="VARCHAR")])
    others = (kinds, gone, view("broken", "SELECT nonsense FROM kinds"), view("on_top", "SELECT * FROM broken"))
    checks = (
        check("not_null", "id"),
        check("custom_sql", query="SELECT * FROM kinds WHERE name = 'x'", reads=("kinds",)),
        check("custom_sql", query="SELECT * FROM on_top", reads=("on_top",)),
        check("custom_sql", query="SELECT x FROM gone", reads=("gone",)),
        check("unique", "id"),
    )
    needs = ((), ("kinds",), ("kinds", "broken", "on_top"), ("gone",), ())
    needing = (one.model_copy(update={"needs": names}) for one, names in zip(checks, needs, strict=True))
    faulty = check("not_null", "id").model_copy(update={"fault": "The view was deleted."})
    found = (await write(engine, tmp_path, ROWS, *needing, faulty, others=others)).result.checks
    assert [one.status for one in found] == [PASSED, PASSED, ERROR, ERROR, FAILED, ERROR], found
    assert "broken" in (found[2].reason or "")
    assert found[5].reason == "The view was deleted."


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM orders WHERE CAST(kind AS INTEGER) > 1",
        "SELECT * FROM orders WHERE strptime(kind, '%Y') > now()",
        "SELECT * FROM orders WHERE kind <> 'x' AND error('it is ' || kind) IS NULL",
        "SELECT * FROM cast_kinds",
    ],
)
async def test_no_value_of_a_row_is_in_the_reason_of_a_check_that_cannot_be_run(
    engine: DuckDBEngine, tmp_path: Path, query: str
) -> None:
    casts = view("cast_kinds", "SELECT CAST(kind AS INTEGER) AS n FROM orders")
    made = check("custom_sql", query=query, reads=("cast_kinds",))
    only = (await write(engine, tmp_path, "SELECT 1 AS id, 'CANARY' AS kind", made, others=(casts,))).only
    assert (only.status, only.sql) == (ERROR, query), only
    assert "CANARY" not in str(only.reason)
    assert "send it to query/" in str(only.reason)


@pytest.mark.parametrize("kind", ["not_null", "accepted_values", "freshness", "unique"])
async def test_a_column_that_is_gone_is_not_taken_for_the_whole_row(
    engine: DuckDBEngine, tmp_path: Path, kind: str
) -> None:
    configs: dict[str, Any] = {"accepted_values": {"values": ["a"]}, "freshness": {"max_age_minutes": 5}}
    config = configs.get(kind, {})
    where = "orders.id > 0"
    for made in (check(kind, "orders", **config), check(kind, "orders", **config, where=where)):
        only = (await write(engine, tmp_path, ROWS, made)).only
        assert only.status is ERROR, only
    there = await write(
        engine, tmp_path, f"SELECT *, 1 AS orders FROM ({ROWS})", check("not_null", "orders", where=where)
    )
    assert there.only.status is PASSED


BEFORE = Shape(
    rows=10,
    columns=(
        Column(name="id", duckdb_type="INTEGER"),
        Column(name="kind", duckdb_type="VARCHAR"),
        Column(name="amount", duckdb_type="INTEGER"),
    ),
)


@pytest.mark.parametrize(
    ("made", "current", "reason"),
    [
        (check("row_count_change", max_drop_percent=60), BEFORE, None),
        (check("row_count_change", max_drop_percent=59), BEFORE, "10 rows before, 4 now"),
        (check("row_count_change", max_rise_percent=0), BEFORE, None),
        (check("row_count_change", max_rise_percent=10), BEFORE.model_copy(update={"rows": 2}), "2 rows before, 4 now"),
        (check("row_count_change", max_rise_percent=10), BEFORE.model_copy(update={"rows": 0}), "0 rows before, 4 now"),
        (check("row_count_change", max_drop_percent=0), None, None),
        (check("schema_unchanged"), BEFORE, None),
        (check("schema_unchanged"), BEFORE.model_copy(update={"columns": BEFORE.columns[:2]}), "added: amount"),
        (check("schema_unchanged", allow=["added"]), BEFORE.model_copy(update={"columns": BEFORE.columns[:2]}), None),
        (check("schema_unchanged"), None, None),
    ],
)
async def test_a_result_is_compared_with_the_version_before(
    engine: DuckDBEngine, tmp_path: Path, made: PlannedCheck, current: Shape | None, reason: str | None
) -> None:
    only = (await write(engine, tmp_path, ROWS, made, current=current)).only
    assert (only.status, only.reason) == (FAILED if reason else PASSED, reason)


async def test_another_type_of_a_column_is_a_change(engine: DuckDBEngine, tmp_path: Path) -> None:
    columns = (*BEFORE.columns[:2], Column(name="Amount", duckdb_type="BIGINT"), Column(name="x", duckdb_type="DATE"))
    only = (
        await write(
            engine, tmp_path, ROWS, check("schema_unchanged"), current=BEFORE.model_copy(update={"columns": columns})
        )
    ).only
    assert (only.failing_rows, only.reason) == (2, "removed: x; retyped: amount (BIGINT to INTEGER)")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM secrets",
        "DROP VIEW orders",
        "SELECT 1; SELECT 2",
        "SELECT 1) AS q; DROP VIEW orders; SELECT * FROM (SELECT 1",
    ],
)
async def test_a_statement_reads_only_what_it_may(engine: DuckDBEngine, tmp_path: Path, query: str) -> None:
    only = (await write(engine, tmp_path, ROWS, check("custom_sql", query=query))).only
    assert only.status is ERROR, only


@pytest.mark.parametrize(
    "where",
    [
        "true) UNION ALL SELECT * FROM read_csv('/etc/passwd'",
        "id IN (SELECT 1 FROM secrets)",
        "true); DROP VIEW orders; SELECT (1",
        "true)) FROM duckdb_settings(), orders WHERE ((true",
    ],
)
@pytest.mark.parametrize("kind", ["not_null", "unique", "row_count"])
async def test_a_condition_is_no_more_than_a_condition(
    engine: DuckDBEngine, tmp_path: Path, where: str, kind: str
) -> None:
    made = check(kind, where=where, min=1) if kind == "row_count" else check(kind, "id", where=where)
    only = (await write(engine, tmp_path, ROWS, made)).only
    assert only.status is ERROR, only


async def test_a_check_that_takes_too_long_ends_and_the_result_stands(engine: DuckDBEngine, tmp_path: Path) -> None:
    endless = check("custom_sql", query="SELECT count(*) FROM range(10000000000) a, range(10000000000) b")
    written = await write(engine, tmp_path, ROWS, endless, check("not_null", "id"), seconds=3)
    assert written.result.checks[0].status is ERROR
    assert "longer" in (written.result.checks[0].reason or "")
    assert written.result.rows == 4


async def test_only_some_of_the_failing_rows_are_kept(engine: DuckDBEngine, tmp_path: Path) -> None:
    sql = "SELECT i, NULL::INTEGER AS n, [i] AS l, i::HUGEINT AS h FROM range(100000) t(i)"
    written = await write(engine, tmp_path, sql, check("not_null", "n"))
    assert written.only.failing_rows == 100_000
    assert len(written.sample(written.only)) == written.result.samples[0].rows == 100
