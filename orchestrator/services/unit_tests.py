"""Runs unit tests of views, over the definitions of a project as they would be after a change.

A test is a query of a reader, in the same process and within the same limits. All that it reads is in the request, so
it reads no data of the project, and its rows have the types that the columns have which they stand for.
"""

# ruff: noqa: S608 - composing SQL is what this module is for; every name in it is quoted

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from decimal import Decimal
from graphlib import TopologicalSorter
from typing import Any
from uuid import UUID

from orchestrator.model.check import CheckStatus
from orchestrator.model.definitions import Change
from orchestrator.model.engine import Dialect
from orchestrator.model.errors import InvalidQuery, OrchestratorError, Transient
from orchestrator.model.names import fold, name_key, quoted
from orchestrator.model.nearest import did_you_mean
from orchestrator.model.reading import ReadPlan, ReadRelation, ResultFormat, RowsRelation
from orchestrator.model.run import ViewRelation
from orchestrator.model.snapshot import Column
from orchestrator.model.unit_test import MOST_SHOWN, GivenRow, UnitTest, UnitTestResult
from orchestrator.services.change_binding import statement_after, tables_after
from orchestrator.services.change_plans import ChangePlanner
from orchestrator.services.change_proposal import Proposal
from orchestrator.services.column_binding import Bound, NamedColumns
from orchestrator.services.reading import ReadService

# A name that no view has.
_EXPECTED = "the expected rows"
# Sums of floating-point numbers depend on their order. These digits do not.
_ROUNDED = {"FLOAT": "{:.6g}", "DOUBLE": "{:.12g}"}
_SIGNED = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_WHOLE = (*_SIGNED, *(f"U{one}" for one in _SIGNED))
_SECONDS = 60.0
_NOT_IN_TIME = f"It was not run: the tests before it took {_SECONDS:g} seconds."
_NO_VIEW = UUID(int=0)


class _Faulty(Exception):
    """A test that cannot be run, and why."""


@dataclass(frozen=True)
class UnitTester:
    """Runs the unit tests of every project."""

    planner: ChangePlanner
    reading: ReadService

    async def run(self, project_id: int, change: Change, tests: Sequence[UnitTest]) -> list[UnitTestResult]:
        """The result of each test, in their order. The change is not made. Raises what planning it does."""
        proposal = (await self.planner.propose(project_id, change)).proposal
        tables = tables_after(proposal)
        is_cyclic = proposal.graph.cycle() is not None
        views = {} if is_cyclic else await self._bind(project_id, proposal, tables, tests)
        results: list[UnitTestResult] = []
        deadline = time.monotonic() + _SECONDS
        for test in tests:
            began = time.monotonic()
            found = UnitTestResult(name=test.name, view=test.view, status=CheckStatus.ERROR)
            try:
                _require(not is_cyclic, "The views read one another in a cycle.")
                _require(began < deadline, _NOT_IN_TIME)
                found = await self._run(project_id, _Inputs(proposal, tables, views, test), found)
            except _Faulty as error:
                found = found.model_copy(update={"reason": str(error)})
            except Transient:
                raise
            except OrchestratorError as error:
                found = found.model_copy(update={"reason": error.message})
            results.append(found.model_copy(update={"seconds": round(time.monotonic() - began, 3)}))
        return results

    async def _bind(
        self, project_id: int, proposal: Proposal, tables: Mapping[str, NamedColumns], tests: Iterable[UnitTest]
    ) -> Mapping[str, Bound]:
        tested = {name_key(test.view) for test in tests} & proposal.graph.reads.keys()
        keys = (tested | proposal.graph.above(tested)) & proposal.graph.reads.keys()
        return await self.planner.binder.bind(project_id, {key: statement_after(proposal, key) for key in keys}, tables)

    async def _run(self, project_id: int, inputs: "_Inputs", found: UnitTestResult) -> UnitTestResult:
        columns = inputs.compared()
        relations = (*inputs.relations(), inputs.expected(columns))
        async with AsyncExitStack() as stack:
            read = await self.reading.open(stack, project_id, None)
            plan = ReadPlan(
                sql=_comparison(inputs.view, columns),
                relations=relations,
                format=ResultFormat.JSON,
                limits=read.limits,
                timeout_seconds=read.seconds,
            )
            stream = await stack.enter_async_context(read.session.read(plan, _no_file))
            text = b"".join([chunk async for chunk in stream.chunks()])
        sides: dict[str, list[Any]] = {"missing": [], "unexpected": []}
        totals = {"missing_rows": 0, "unexpected_rows": 0}
        for side, total, *values in json.loads(b"[" + text + b"]"):
            sides[side].append(tuple(values))
            totals[f"{side}_rows"] = int(total)
        status = CheckStatus.FAILED if any(totals.values()) else CheckStatus.PASSED
        names = tuple(one.name for one in columns)
        return found.model_copy(update={"status": status, "columns": names, **sides, **totals})


class _Inputs:
    """All that the query of a test reads."""

    def __init__(
        self, proposal: Proposal, tables: Mapping[str, NamedColumns], views: Mapping[str, Bound], test: UnitTest
    ) -> None:
        """Raises _Faulty for a view that does not exist or bind."""
        self._proposal = proposal
        self._tables = tables
        self._views = views
        self._test = test
        self._key = name_key(test.view)
        if self._key not in proposal.graph.reads:
            known = (proposal.name(key) for key in proposal.graph.reads)
            raise _Faulty(f"There is no view {test.view}.{did_you_mean(test.view, known)}")
        self.view = proposal.name(self._key)
        self._given = {name_key(name): (name, rows) for name, rows in test.given.items()}

    def relations(self) -> list[ReadRelation]:
        """The given rows and the views that are computed of them, each after those that it reads.

        Raises _Faulty if rows are missing, or given for what the view does not read.
        """
        reads: dict[str, tuple[str, ...]] = {}
        waiting = [self._key]
        while waiting:
            key = waiting.pop()
            is_computed = key in self._proposal.graph.reads and (key == self._key or key not in self._given)
            reads[key] = self._proposal.graph.reads[key] if is_computed else ()
            waiting += (one for one in reads[key] if one not in reads)
        for key, (name, _) in self._given.items():
            if key not in reads or key == self._key:
                known = (self._proposal.name(one) for one in self._proposal.graph.above([self._key]))
                raise _Faulty(f"{self.view} does not read {name}.{did_you_mean(name, known)}")
        return [self._relation(key) for key in TopologicalSorter(reads).static_order()]

    def _relation(self, key: str) -> ReadRelation:
        name = self._proposal.name(key)
        if key in self._given:
            return _rows(name, self._columns(key), self._given[key][1])
        if key in self._proposal.graph.reads:
            text = self._proposal.definition(key).text
            _require(text.dialect is Dialect.DUCKDB, f"{name} is in Spark's dialect: unit tests run on DuckDB.")
            return ViewRelation(name=name, id=_NO_VIEW, sql=text.sql)
        raise _Faulty(f"No rows are given of {name}, which it reads. An empty list stands for none.")

    def compared(self) -> list[Column]:
        """The columns that the expected rows name, in the order of the view; all if they name none."""
        columns = self._columns(self._key)
        named = {fold(name) for row in self._test.expect for name in row}
        _require_known(self.view, columns, self._test.expect)
        return [one for one in columns if not named or fold(one.name) in named]

    def expected(self, columns: Sequence[Column]) -> RowsRelation:
        """The expected rows."""
        return _rows(_EXPECTED, columns, self._test.expect)

    def _columns(self, key: str) -> Sequence[Column]:
        if key in self._tables:
            return self._tables[key].columns
        bound = self._views.get(key)
        if bound is None:
            raise _Faulty(f"There is no view or table {self._proposal.name(key)}.")
        if isinstance(bound, InvalidQuery):
            where = "" if key == self._key else f'In the view "{self._proposal.name(key)}": '
            raise _Faulty(f"{where}{bound.message}")
        return bound


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _Faulty(otherwise)


def _rows(name: str, columns: Sequence[Column], rows: Sequence[GivenRow]) -> RowsRelation:
    _require_known(name, columns, rows)
    folded = [{fold(column): value for column, value in row.items()} for row in rows]
    for column in columns:
        digits = _digits_of(column.duckdb_type)
        for value in (row.get(fold(column.name)) for row in folded):
            # DuckDB would round it, and 1.5 would be the 2 that a query returns.
            if digits is not None and isinstance(value, float | str) and _fraction_of(value) > digits:
                raise _Faulty(f"{value} cannot be a value of {column.name} ({column.duckdb_type}) of {name}.")
    return RowsRelation(
        name=name,
        columns={one.name: one.duckdb_type for one in columns},
        rows=tuple(tuple(_value(row.get(fold(one.name)), one.duckdb_type) for one in columns) for row in folded),
        has_aliases=True,
    )


def _value(value: Any, duckdb_type: str) -> Any:  # noqa: ANN401 - JSON
    """The value as DuckDB is to read it: a text for a column of JSON is JSON itself, as files have it."""
    if duckdb_type == "JSON" and isinstance(value, str):
        with suppress(ValueError):
            return json.loads(value)
    return value


def _digits_of(duckdb_type: str) -> int | None:
    """How many digits a number of a type may have after the point; None for a type without that limit."""
    if duckdb_type in _WHOLE:
        return 0
    found = re.fullmatch(r"DECIMAL\(\d+,(\d+)\)", duckdb_type)
    return int(found[1]) if found else None


def _fraction_of(value: float | str) -> int:
    """How many digits a number has after the point, without zeros at its end; 0 for what is no number."""
    try:
        exponent = Decimal(str(value)).normalize().as_tuple().exponent
    except ArithmeticError:
        return 0
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _require_known(name: str, columns: Iterable[Column], rows: Iterable[GivenRow]) -> None:
    known = {fold(one.name): one.name for one in columns}
    unknown = next((column for row in rows for column in row if fold(column) not in known), None)
    if unknown is not None:
        raise _Faulty(f"{name} has no column {unknown}.{did_you_mean(unknown, known.values())}")


def _comparison(view: str, columns: Sequence[Column]) -> str:
    """The rows that only one of the two has: which one, how many of that kind there are, and the values."""
    shown = ", ".join(f"{_shown(one)} AS c{number}" for number, one in enumerate(columns))
    expected, returned = (f"SELECT {shown} FROM {quoted(name)}" for name in (_EXPECTED, view))
    sides = (
        f"SELECT 'missing' AS side, * FROM ({expected} EXCEPT ALL {returned}) UNION ALL "
        f"SELECT 'unexpected' AS side, * FROM ({returned} EXCEPT ALL {expected})"
    )
    values = ", ".join(f"c{number}" for number in range(len(columns)))
    return (
        f"SELECT side, count(*) OVER (PARTITION BY side) AS total, {values} FROM ({sides}) "
        f"QUALIFY row_number() OVER (PARTITION BY side ORDER BY {values}) <= {MOST_SHOWN} ORDER BY side, {values}"
    )


def _shown(column: Column) -> str:
    rounded = _ROUNDED.get(column.duckdb_type)
    name = quoted(column.name)
    return name if rounded is None else f"format('{rounded}', {name} + 0.0)"


def _no_file(_location: str, _name: str) -> str:
    raise AssertionError("a unit test reads no file")
