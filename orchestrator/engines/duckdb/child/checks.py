"""Runs the checks of a view on a result that is written and not published.

The generic checks share one scan of the result. A check that cannot be run has an error of its own, and the others go
on.
"""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted or was parsed alone

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from orchestrator.engines.check_statements import (
    AGAINST_CURRENT,
    Current,
    against_current,
    aggregate_of,
    counts_with_others,
    failing_rows,
    texts_of,
)
from orchestrator.engines.duckdb.child.errors import failure, plain_message, redact_paths
from orchestrator.engines.duckdb.child.kept_session import kept_session, within_reach
from orchestrator.engines.duckdb.child.plan import (
    Inputs,
    Request,
    Task,
    Watch,
    create_relation,
    list_inputs,
    readings_of,
    translate_errors,
)
from orchestrator.engines.duckdb.child.session import RelationBinder
from orchestrator.engines.duckdb.sources.contract import UnreadableFile
from orchestrator.engines.duckdb.sources.parquet import read_parquet
from orchestrator.engines.duckdb.sql.inlining import weigh
from orchestrator.engines.duckdb.sql.output_columns import UnsupportedType
from orchestrator.engines.duckdb.sql.parquet_casts import cast_for_parquet, decoded, literal
from orchestrator.engines.duckdb.sql.references import readings
from orchestrator.engines.duckdb.sql.statement import single_select
from orchestrator.model.errors import InvalidQuery, OrchestratorError
from orchestrator.model.names import fold, quoted
from orchestrator.model.read_limits import MOST_READINGS, MOST_SAMPLES

# The subfolder of a result's folder that holds some of the rows that checks have failed on.
CHECKS = "checks"
# The errors of a check that cannot be run.
_UNREADABLE = (duckdb.Error, OSError, UnsupportedType, UnreadableFile, OrchestratorError)
# Errors whose message has no value of a row. The reason of a result is shown to more people than the rows are.
_WITHOUT_VALUES = (
    *(duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException, duckdb.SyntaxException),
    *(duckdb.IOException, duckdb.NotImplementedException, duckdb.OutOfMemoryException, duckdb.PermissionException),
)
_SHORTEST_SECONDS = 1.0
# The rest of a run's time is for what follows the checks.
_SHARE = 0.8


def check_table(request: Request) -> Task:
    """The task that makes the checks of the source table `name`; it returns the result of each."""
    labels = dict.fromkeys((request["temp_directory"],), "temporary storage")
    inputs: Inputs = {}
    with translate_errors(request, inputs, labels):
        list_inputs(request, inputs, labels)
    return within_reach(request, partial(_check_table, inputs, labels))


def _check_table(inputs: Inputs, labels: Mapping[str, str], request: Request, watch: Watch) -> list[dict[str, Any]]:
    began = time.monotonic()
    with translate_errors(request, inputs, labels):
        session = kept_session(request, for_reader=False)
        session.clear()
        connection, created = session.connection, session.created
        watch(connection)
        return Checker(connection, request, inputs, labels, created, began=began).run_on_table()


class _TooSlow(Exception):
    """The time of the run is over."""


class Checker:
    """The checks of one result. `request` is that of the run, whose query has been run on `connection`."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        request: Request,
        inputs: Inputs,
        labels: Mapping[str, str],
        created: dict[str, str],
        *,
        began: float,
    ) -> None:
        self._connection = connection
        self._request = request
        self._inputs = inputs
        self._labels = labels
        self._created = created
        self._deadline = began + max(_SHORTEST_SECONDS, _SHARE * request["timeout_seconds"])
        self._subject = quoted(request["name"])
        self._views: dict[str, list[str]] = {}  # the names that each view reads which is evaluated inside a check
        self._sampled = 0

    def run_on_table(self) -> list[dict[str, Any]]:
        """The result of each check of the request, whose subject is one of its relations. No rows are kept."""
        checks: Sequence[Mapping[str, Any]] = self._request["checks"]
        return self._run_all(checks, self._create_relations(), None)

    def run(self, written: Mapping[str, Any], target: str) -> list[dict[str, Any]]:
        """The result of each check of the request, in its order, as CheckResult has it."""
        checks: Sequence[Mapping[str, Any]] = self._request["checks"]
        if not checks:
            return []
        paths = [f"{target}/{name}" for name, _, _ in written["files"]]
        unready = self._create_relations(decoded(read_parquet(paths), written["columns"]))
        rows = sum(count for _, count, _ in written["files"])
        columns = [(name, kind) for name, kind, _ in written["columns"]]
        of_shape: dict[str, dict[str, Any]] = {}
        for check in checks:
            if check["check_type"] in AGAINST_CURRENT:
                number, reason = against_current(check, rows, columns, _current_of(self._request))
                of_shape[check["id"]] = _judged(number, reason)
        return self._run_all(checks, of_shape | unready, target)

    def _run_all(
        self, checks: Sequence[Mapping[str, Any]], known: dict[str, dict[str, Any]], target: str | None
    ) -> list[dict[str, Any]]:
        """The result of each check, where it is not `known` already. Failing rows are kept below `target`."""
        left = [check for check in checks if check["id"] not in known]
        counted = self._count_together([check for check in left if counts_with_others(check)])
        found = {check["id"]: self._check(check, counted.get(check["id"]), target) for check in left}
        return [{"id": check["id"], **(known | found)[check["id"]]} for check in checks]

    def _create_relations(self, subject: str | None = None) -> dict[str, dict[str, Any]]:
        """Create what the checks read, and the subject first if it is given.

        Returns the results of checks for which that fails: of all, if it does for the subject.
        """
        request, checks = self._request, self._request["checks"]
        faults = {check["id"]: _erred(check["fault"]) for check in checks if check["fault"]}
        relations = (*request["relations"], *request["check_relations"])
        views = [one["sql"] for one in relations if one["kind"] == "view"]
        texts = [text for check in checks for text in texts_of(check, self._subject)]
        names = RelationBinder(self._connection, [*texts, *views], self._created)
        known = {fold(one["name"]) for one in (*relations, request)}
        try:
            if subject is not None:
                names.create(request["name"], subject)
        except _UNREADABLE as error:
            return {check["id"]: self._error(error) for check in checks}
        for one in relations:
            try:
                if one["kind"] == "view":
                    self._views[one["name"]] = readings_of(self._connection, one["sql"], known, one["name"])
                create_relation(self._connection, names, one, self._inputs)
            except _UNREADABLE as error:
                fault = self._error(error)
                faults |= {check["id"]: fault for check in checks if one["name"] in (request["name"], *check["needs"])}
        return faults

    def _count_together(self, checks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """The failures of checks, in one scan of the result. None if one of them cannot be run."""
        if not checks:
            return {}
        listed = ", ".join(str(aggregate_of(check, self._subject)) for check in checks)
        try:
            for check in checks:
                self._look_at(check)
            row = self._fetch_one(f"SELECT {listed} FROM {self._subject}")
        except (duckdb.Error, InvalidQuery, _TooSlow):
            return {}  # each is run by itself, to see which it was
        return {check["id"]: int(number) for check, number in zip(checks, row, strict=True)}

    def _check(self, check: Mapping[str, Any], counted: int | None, target: str | None) -> dict[str, Any]:
        select = None
        try:
            select = failing_rows(check, self._subject)
            number = counted
            if number is None:
                self._look_at(check)
                if check["check_type"] == "custom_sql":
                    select = single_select(self._connection, select)
                number = int(self._fetch_one(f"SELECT count(*) FROM (\n{select}\n) AS q")[0])
            sample = self._keep(select, target) if number and target is not None else None
        except (*_UNREADABLE, LookupError, _TooSlow) as error:
            return self._error(error) | {"sql": select}
        return _judged(number, None) | {"sql": select, "sample": sample}

    def _look_at(self, check: Mapping[str, Any]) -> None:
        """Check the texts of a person in a check against the rules for views. Raises InvalidQuery."""
        own = [self._request["name"]]
        known = own if check["check_type"] != "custom_sql" else [*own, *check["reads"]]
        statements = texts_of(check, self._subject)
        if check["check_type"] != "custom_sql" and (statements or check["to_name"] is not None):
            # The condition may read otherwise in another statement than in the one that was looked at.
            statements.append(failing_rows(check, self._subject))
            aggregate = aggregate_of(check, self._subject)
            if aggregate is not None:
                statements.append(f"SELECT {aggregate} FROM {self._subject}")
            known = [*known, *filter(None, [check["to_name"]])]
        for statement in statements:
            found = readings(self._connection, statement)
            unknown = set(map(fold, found)) - set(map(fold, known))
            if unknown:
                raise InvalidQuery(f"It reads {min(unknown)}, which it may not.")
            weight = weigh(found, self._views)
            if weight > MOST_READINGS:
                raise InvalidQuery(
                    f"With every view that has no result of its own evaluated inside it, it reads tables and views "
                    f"{weight:,} times; {MOST_READINGS:,} are the most."
                )

    def _keep(self, select: str, target: str) -> str:
        """Write some failing rows beside the result; returns the name of the file."""
        limited = f"SELECT * FROM (\n{select}\n) AS q LIMIT {MOST_SAMPLES}"
        name = f"{CHECKS}/{self._sampled}.parquet"
        path = Path(target, name)
        path.parent.mkdir(exist_ok=True)
        chosen = cast_for_parquet(self._connection, limited, collated=True)
        copy = f"COPY ({chosen.select}) TO {literal(str(path))} (FORMAT parquet, PARQUET_VERSION {chosen.version})"
        try:
            with self._in_time():
                self._connection.execute(copy)
        except (duckdb.Error, _TooSlow):
            path.unlink(missing_ok=True)
            raise
        self._sampled += 1
        return name

    def _fetch_one(self, statement: str) -> tuple[Any, ...]:
        with self._in_time():
            row = self._connection.execute(statement).fetchone()
        return tuple(row or (0,))

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Interrupt DuckDB at the end of the time. Raises _TooSlow then."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise _TooSlow
        timer = threading.Timer(left, self._connection.interrupt)
        timer.start()
        try:
            yield
        except duckdb.InterruptException:
            raise _TooSlow from None
        finally:
            timer.cancel()

    def _error(self, error: Exception) -> dict[str, Any]:
        if isinstance(error, _TooSlow):
            reason = "It took longer than was left of the time of the run."
        elif isinstance(error, UnsupportedType | UnreadableFile | LookupError):
            reason = str(error)
        elif isinstance(error, duckdb.Error) and not isinstance(error, _WITHOUT_VALUES):
            kind = plain_message(error).partition(":")[0]
            reason = f"{kind}: it cannot be computed of each row. Its sql says more: send it to query/."
        else:
            reason = failure(error, self._request["limits"]).message
        notes = getattr(error, "__notes__", [])
        return _erred(redact_paths(" ".join([*notes, reason]), self._labels))


def _erred(reason: str) -> dict[str, Any]:
    return {"status": "error", "failing_rows": None, "reason": reason}


def _judged(number: int, reason: str | None) -> dict[str, Any]:
    return {"status": "failed" if number else "passed", "failing_rows": number, "reason": reason}


def _current_of(request: Request) -> Current | None:
    current = request["current"]
    return None if current is None else Current(current["rows"], current["columns"])


def has_errors(results: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a check could not be run. The state in which it left the connection is not known then."""
    return any(one["status"] == "error" for one in results)
