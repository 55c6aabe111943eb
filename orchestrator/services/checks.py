"""Checks of views and source tables: what clients do with them. Runs make them before a result is published."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from orchestrator.catalog import audit_log, checks, projects, saved_queries, snapshots, source_tables
from orchestrator.catalog.database import Database, Transaction
from orchestrator.engines.base import QueryAnalyzer
from orchestrator.engines.check_statements import AGAINST_CURRENT, Current, against_current, failing_rows
from orchestrator.model.audit import Verb
from orchestrator.model.check import (
    LARGEST_SUBJECT_BYTES,
    MOST_OF_SUBJECT,
    Assertion,
    Check,
    CheckFields,
    CheckResult,
    CheckStatus,
    CheckType,
    StoredResult,
    Subject,
    SubjectRef,
    size_of,
)
from orchestrator.model.errors import ChecksChanging, Invalid, InvalidCheck, InvalidQuery, NotFound, Terminal
from orchestrator.model.names import name_key, quoted
from orchestrator.model.principal import User
from orchestrator.model.reading import ResultFormat, ResultStream
from orchestrator.model.saved_query import SavedQuery
from orchestrator.model.snapshot import PublishedSnapshot, Snapshot, SnapshotFile, seen
from orchestrator.model.source_table import SourceTable
from orchestrator.services.check_changes import NO_VERSION_BEFORE
from orchestrator.services.check_records import check_change, fields_of
from orchestrator.services.query_analysis import QueryAnalysis
from orchestrator.services.reading import QueryText, ReadService, RowsRequest, ViewVersion

_LARGEST_SAMPLE = 4 << 20
_ATTEMPTS = 5


class ShownCheck(NamedTuple):
    """A check with its newest result."""

    check: Check
    newest: StoredResult | None


class SampledRows(NamedTuple):
    """Some of the rows that a check has failed on, as JSON, with the names and types of their columns."""

    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Any]]


class CheckService:
    """The checks of every view and source table."""

    def __init__(self, database: Database, engine: QueryAnalyzer, reading: ReadService) -> None:
        self._database = database
        self._engine = engine
        self._analysis = QueryAnalysis(database, engine)
        self._reading = reading

    async def page(self, of: SubjectRef, *, limit: int, offset: int) -> tuple[int, list[ShownCheck]]:
        """The number of a view's checks, and one page of them. Raises NotFound."""
        async with self._database.begin() as tx:
            await _owner(tx, of)
            count, found = await checks.page(tx, of.kind, of.id, limit=limit, offset=offset)
            newest = await checks.newest(tx, [one.id for one in found])
        return count, [ShownCheck(one, newest.get(one.id)) for one in found]

    async def get(self, of: SubjectRef, check_id: UUID) -> ShownCheck:
        """A check. Raises NotFound."""
        async with self._database.begin() as tx:
            await _owner(tx, of)
            return await _shown(tx, of, check_id)

    async def create(self, of: SubjectRef, fields: CheckFields, user: User) -> tuple[ShownCheck, bool]:
        """Add a check to a view, unless it has one that asserts the same; returns it, and whether it is new.

        Raises NotFound, InvalidCheck or InvalidQuery.
        """
        fields = await self._bound(of, fields)
        async with self._database.begin() as tx:
            await projects.lock_project(tx, of.project_id)
            view = await _owner(tx, of, lock=True)
            known = await checks.find_equal(tx, of.kind, of.id, fields.assertion.digest)
            if known is not None:
                return await _shown(tx, of, known.id), False
            await _require_space(tx, of, fields)
            await _require_name(tx, of.project_id, fields.name, besides=None)
            check_id = await checks.insert_new(tx, of, fields=fields, user_id=user.id)
            made = await _shown(tx, of, check_id)
            await _record(tx, view, user, None, made.check)
            return made, True

    async def change(
        self,
        of: SubjectRef,
        check_id: UUID,
        changed: Callable[[CheckFields], CheckFields],
        user: User,
    ) -> ShownCheck:
        """Change fields of a check; all but its subject may change.

        `changed` returns the fields as they are to be. It is called again if another client changes the check at the
        same time, so that neither change is lost. Raises NotFound, InvalidCheck, InvalidQuery or ChecksChanging.
        """
        for _ in range(_ATTEMPTS):
            before = fields_of((await self.get(of, check_id)).check)
            fields = await self._bound(of, changed(before))
            made = await self._replace(of, check_id, before, fields, user)
            if made is not None:
                return made
        raise ChecksChanging

    async def _replace(
        self, of: SubjectRef, check_id: UUID, known: CheckFields, fields: CheckFields, user: User
    ) -> ShownCheck | None:
        """Store the fields of a check. None if it is not as it was `known`."""
        async with self._database.begin() as tx:
            await projects.lock_project(tx, of.project_id)
            view = await _owner(tx, of, lock=True)
            before = await _found(tx, of, check_id)
            if fields_of(before) != known:
                return None
            equal = await checks.find_equal(tx, of.kind, of.id, fields.assertion.digest)
            if equal is not None and equal.id != check_id:
                raise InvalidCheck(f"Another check of this view asserts the same: {equal.label}.", attr="config")
            await _require_space(tx, of, fields, besides=check_id)
            await _require_name(tx, of.project_id, fields.name, besides=check_id)
            await checks.change(tx, check_id, fields)
            after = await _shown(tx, of, check_id)
            await _record(tx, view, user, before, after.check)
            return after

    async def delete(self, of: SubjectRef, check_id: UUID, user: User) -> None:
        """Delete a check. Its results stay. Raises NotFound."""
        async with self._database.begin() as tx:
            # No apply, which holds the lock too, changes a check that is being deleted.
            await projects.lock_project(tx, of.project_id)
            view = await _owner(tx, of, lock=True)
            check = await _found(tx, of, check_id)
            await checks.delete(tx, check_id)
            await _record(tx, view, user, check, None)

    async def results(
        self, of: SubjectRef, check_id: UUID, *, limit: int, offset: int
    ) -> tuple[int, list[StoredResult]]:
        """The number of a check's results, and some of them, newest first. Raises NotFound."""
        async with self._database.begin() as tx:
            await _owner(tx, of)
            await _found(tx, of, check_id)
            return await checks.results(tx, check_id, limit=limit, offset=offset)

    async def run(self, of: SubjectRef, check_id: UUID) -> StoredResult:
        """Make a check on what readers see now, and store its result. Raises NotFound, or Transient."""
        async with self._database.begin() as tx:
            view = await _owner(tx, of)
            check = await _found(tx, of, check_id)
            versions = await _versions(tx, view, check)
            to_name = await _to_name(tx, of.project_id, check.assertion)
        result = await self._result(of.project_id, view, check, versions, to_name)
        async with self._database.begin() as tx:
            version = versions[0].id if versions else None
            (result_id,) = await checks.record(tx, [checks.MadeResults([result], snapshot_id=version)])
            stored = await checks.result(tx, check_id, result_id)
        if stored is None:
            raise NotFound
        return stored

    async def sample(self, of: SubjectRef, check_id: UUID, result_id: UUID) -> SampledRows:
        """Some of the rows that a check has failed on in a run. Raises NotFound if none are kept."""
        async with self._database.begin() as tx:
            view = await _owner(tx, of)
            await _found(tx, of, check_id)
            result = await checks.result(tx, check_id, result_id)
            if result is None:
                raise NotFound("There is no such result, or it is no longer kept.")
            version = None
            if isinstance(view, SavedQuery) and result.sample is not None and result.snapshot_id is not None:
                version = await snapshots.find(tx, of.id, result.snapshot_id)
        file = None if version is None else _file(version, result.sample)
        if version is None or file is None or isinstance(view, SourceTable):
            raise NotFound("No failing rows are kept of this result. Its sql selects them.")
        rows = version.snapshot.model_copy(update={"files": (file,), "columns": ()})
        wanted = RowsRequest(format=ResultFormat.JSON)
        async with self._reading.rows(of.project_id, ViewVersion(view, rows), wanted) as stream:
            found = await _rows_of(stream)
        columns = stream.summary.columns if stream.summary else ()
        return SampledRows([(one.name, one.duckdb_type) for one in columns], found)

    async def _result(
        self,
        project_id: int,
        view: SavedQuery | SourceTable,
        check: Check,
        versions: Sequence[Snapshot],
        to_name: str | None,
    ) -> CheckResult:
        found = CheckResult(check_id=check.id, label=check.label, severity=check.severity, status=CheckStatus.PASSED)
        described = check.assertion.plain(to_name)
        if check.assertion.check_type in AGAINST_CURRENT:
            number, reason = _against_version_before(described, versions)
            status = CheckStatus.FAILED if number else CheckStatus.PASSED
            return found.model_copy(update={"status": status, "failing_rows": number, "reason": reason})
        try:
            select = failing_rows(described, quoted(view.name))
            if check.assertion.check_type is CheckType.CUSTOM_SQL:
                select = await self._without_semicolon(project_id, select)
            counting = QueryText(sql=f"SELECT count(*) AS failing FROM (\n{select}\n) AS q")  # noqa: S608 - bound alone before
            async with self._reading.query(project_id, counting, ResultFormat.JSON) as stream:
                rows = await _rows_of(stream)
        except (Terminal, LookupError) as error:
            reason = error.message if isinstance(error, Terminal) else str(error)
            return found.model_copy(update={"status": CheckStatus.ERROR, "reason": reason})
        number = int(rows[0][0])
        status = CheckStatus.FAILED if number else CheckStatus.PASSED
        return found.model_copy(update={"status": status, "failing_rows": number, "sql": select})

    async def _without_semicolon(self, project_id: int, sql: str) -> str:
        """The statement so that another can contain it. Raises InvalidQuery."""
        (studied,) = await self._engine.study_each([sql], project_id=project_id)
        if isinstance(studied, InvalidQuery):
            raise studied
        return studied.sql

    async def _bound(self, of: SubjectRef, fields: CheckFields) -> CheckFields:
        """The fields with the names that the check reads. Raises InvalidCheck or InvalidQuery if it does not bind."""
        assertion = fields.assertion
        async with self._database.begin() as tx:
            view = await _owner(tx, of)
            to_name = await _to_name(tx, of.project_id, assertion)
        if assertion.check_type in AGAINST_CURRENT:
            if of.kind is Subject.TABLE:
                raise InvalidCheck(NO_VERSION_BEFORE, attr="check_type")
            return fields.model_copy(update={"reads": ()})
        if assertion.check_type is CheckType.RELATIONSHIPS and to_name is None:
            raise InvalidCheck("There is no such view or table in this project.", attr="config")
        select = failing_rows(assertion.plain(to_name), quoted(view.name))
        try:
            analyzed = await self._analysis.analyze(of.project_id, {"query": select})
        except InvalidQuery as error:
            raise InvalidCheck(f"The check cannot be run: {error.message}", attr=_field_of(assertion)) from None
        read = [one.name for one in analyzed.inputs if name_key(one.name) != name_key(view.name)]
        if assertion.check_type is CheckType.CUSTOM_SQL:
            return fields.model_copy(update={"reads": tuple(read)})
        other = next((name for name in read if to_name is None or name_key(name) != name_key(to_name)), None)
        if other is not None:
            raise InvalidCheck(
                f"The condition reads {other}, and may only read what is checked. Use custom_sql.", attr="config"
            )
        return fields.model_copy(update={"reads": ()})


def _against_version_before(check: Mapping[str, Any], versions: Sequence[Snapshot]) -> tuple[int, str | None]:
    if not versions:
        return 0, None
    now, before = versions[0], versions[1] if len(versions) > 1 else None
    columns = [(one.name, one.duckdb_type) for one in seen(now.columns)]
    known = None
    if before is not None:
        known = Current(before.rows, [(one.name, one.duckdb_type) for one in seen(before.columns)])
    return against_current(check, now.rows, columns, known)


def _field_of(assertion: Assertion) -> str:
    return "config" if assertion.check_type is CheckType.CUSTOM_SQL or not assertion.column_name else "column_name"


async def _rows_of(stream: ResultStream) -> list[list[Any]]:
    found = bytearray()
    async for chunk in stream.chunks():
        found += chunk
        if len(found) > _LARGEST_SAMPLE:
            raise Invalid("The failing rows are too long to be shown. The sql of the result selects them.")
    rows: list[list[Any]] = json.loads(b"[" + found + b"]")
    return rows


def _file(version: PublishedSnapshot, name: str | None) -> SnapshotFile | None:
    return next((file for file in version.snapshot.quarantine if file.name == name), None)


async def _owner(tx: Transaction, of: SubjectRef, *, lock: bool = False) -> SavedQuery | SourceTable:
    if of.kind is Subject.TABLE:
        table = await source_tables.find(tx, of.project_id, of.id)
        if table is None:
            raise NotFound
        return table
    view = await saved_queries.find(tx, of.project_id, of.id, lock=lock)
    if view is None:
        raise NotFound
    return view


async def _found(tx: Transaction, of: SubjectRef, check_id: UUID) -> Check:
    check = await checks.find(tx, of.kind, of.id, check_id)
    if check is None:
        raise NotFound("There is no such check here.")
    return check


async def _shown(tx: Transaction, of: SubjectRef, check_id: UUID) -> ShownCheck:
    check = await _found(tx, of, check_id)
    return ShownCheck(check, (await checks.newest(tx, [check_id])).get(check_id))


async def _versions(tx: Transaction, view: SavedQuery | SourceTable, check: Check) -> list[Snapshot]:
    """The current version, and the one that readers saw before if the check compares the two."""
    if isinstance(view, SourceTable) or view.current_snapshot is None:
        return []
    now = await snapshots.find(tx, view.id, view.current_snapshot.id)
    compared = check.assertion.check_type in AGAINST_CURRENT
    before = await snapshots.before_current(tx, view.id) if compared else None
    return [one for one in (now.snapshot if now else None, before) if one is not None]


async def _to_name(tx: Transaction, project_id: int, assertion: Assertion) -> str | None:
    """The name of the view or table that a `relationships` looks into; None if there is none."""
    if assertion.check_type is not CheckType.RELATIONSHIPS:
        return None
    other = UUID(str(assertion.config["to_subject_uuid"]))
    if assertion.config["to_subject_type"] == Subject.VIEW:
        view = await saved_queries.find(tx, project_id, other)
        return None if view is None else view.name
    table = await source_tables.find(tx, project_id, other)
    return None if table is None else table.name


async def _require_name(tx: Transaction, project_id: int, name: str | None, *, besides: UUID | None) -> None:
    if name is not None and await checks.is_name_taken(tx, project_id, name, besides=besides):
        raise InvalidCheck("Another check of this project has this name.", attr="name")


async def _require_space(tx: Transaction, of: SubjectRef, fields: CheckFields, *, besides: UUID | None = None) -> None:
    """Raise InvalidCheck for more checks than the plan of a run should hold."""
    count, others = await checks.page(tx, of.kind, of.id, limit=MOST_OF_SUBJECT + 1, offset=0)
    if besides is None and count >= MOST_OF_SUBJECT:
        raise InvalidCheck(f"A view or table has {MOST_OF_SUBJECT} checks at the most.")
    size = sum(size_of(one.assertion.config) for one in others if one.id != besides)
    if size + size_of(fields.assertion.config) > LARGEST_SUBJECT_BYTES:
        raise InvalidCheck(f"The configs of all checks of a view may take {LARGEST_SUBJECT_BYTES:,} bytes of JSON.")


async def _record(
    tx: Transaction, view: SavedQuery | SourceTable, user: User, before: Check | None, after: Check | None
) -> None:
    """Record the change of a view's check. Source tables have no activity."""
    old, new = (None if one is None else fields_of(one) for one in (before, after))
    if old != new and isinstance(view, SavedQuery):
        await audit_log.record(tx, view, Verb.UPDATED, user, [check_change(old, new)])
