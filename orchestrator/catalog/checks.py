"""Checks of views and source tables, and their results."""

from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Column, ColumnElement, Row, Select, and_, any_, bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.types import Uuid

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.model.check import (
    Assertion,
    Check,
    CheckFields,
    CheckResult,
    CheckStatus,
    PlannedCheck,
    StoredResult,
    Subject,
    SubjectRef,
)

_LIVE = t.checks.c.deleted_at.is_(None)
# Results of a check that are kept. The oldest are deleted as new ones come.
MOST_RESULTS = 100


class MadeResults(NamedTuple):
    """Results to store, and who made them: a run, the generation that checked a source table, or neither: a person."""

    results: Sequence[CheckResult]
    run_id: UUID | None = None
    snapshot_id: UUID | None = None
    generation_id: UUID | None = None


class CheckTransition(NamedTuple):
    """The result of a check in a run, and its status in the last run before that made it; None if there is none."""

    run_id: UUID
    result: CheckResult
    before: str | None

    @property
    def has_passed(self) -> bool:
        """Whether it has passed in the run."""
        return self.result.status is CheckStatus.PASSED

    @property
    def had_passed(self) -> bool:
        """Whether it had passed before. A new check counts as passed."""
        return self.before in {None, CheckStatus.PASSED}


async def page(
    tx: Transaction, subject: Subject, subject_id: UUID, *, limit: int, offset: int
) -> tuple[int, list[Check]]:
    """The number of checks of a view or source table, and one page of them, in the order of their creation."""
    mine = (_subject(subject) == subject_id, _LIVE)
    count = await tx.scalar(select(func.count()).select_from(t.checks).where(*mine)) or 0
    rows = await tx.execute(_select().where(*mine).order_by(*ORDER).limit(limit).offset(offset))
    return count, [check_of(row) for row in rows]


async def find(
    tx: Transaction, subject: Subject, subject_id: UUID, check_id: UUID, *, lock: bool = False
) -> Check | None:
    """The check of that id, if it is one of that view or source table and not deleted."""
    query = _select().where(t.checks.c.id == check_id, _subject(subject) == subject_id, _LIVE)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else check_of(row)


async def find_equal(tx: Transaction, subject: Subject, subject_id: UUID, digest: str) -> Check | None:
    """The check of a view or source table that asserts the same."""
    query = _select().where(_subject(subject) == subject_id, t.checks.c.digest == digest, _LIVE)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else check_of(row)


async def is_name_taken(tx: Transaction, project_id: int, name: str, *, besides: UUID | None) -> bool:
    """Whether another check of the project has the name, in any case."""
    query = select(t.checks.c.id).where(
        t.checks.c.project_id == project_id, func.lower(t.checks.c.name) == name.lower()
    )
    found = await tx.scalars(query.where(_LIVE))
    return any(one != besides for one in found)


async def insert_new(tx: Transaction, of: SubjectRef, *, fields: CheckFields, user_id: int) -> UUID:
    """Store a new check; returns its id."""
    check_id = uuid4()
    values = {**values_of(fields), "id": check_id, "project_id": of.project_id, "created_by": user_id}
    await tx.execute(insert(t.checks).values(**values, **{_subject(of.kind).name: of.id}))
    return check_id


async def change(tx: Transaction, check_id: UUID, fields: CheckFields) -> None:
    """Replace the fields of a check."""
    values = {**values_of(fields), "updated_at": func.clock_timestamp()}
    await tx.execute(update(t.checks).where(t.checks.c.id == check_id).values(**values))


async def delete(tx: Transaction, check_id: UUID) -> None:
    """Delete a check. Its results stay."""
    await tx.execute(update(t.checks).where(t.checks.c.id == check_id).values(deleted_at=func.clock_timestamp()))


async def planned(tx: Transaction, subject_ids: Collection[UUID]) -> dict[UUID, list[PlannedCheck]]:
    """The enabled checks of each of these views and source tables, as runs make them."""
    found: dict[UUID, list[PlannedCheck]] = {}
    for row in await tx.execute(_planned_stmt(), {"subjects": list(subject_ids)}):
        check = check_of(row)
        found.setdefault(check.subject_id, []).append(
            PlannedCheck(
                id=check.id,
                label=check.label,
                severity=check.severity,
                assertion=check.assertion,
                to_name=row.view_name or row.table_name,
                reads=tuple(row.reads),
            )
        )
    return found


async def record(tx: Transaction, made: Iterable[MadeResults]) -> list[UUID]:
    """Store results, and delete the oldest of those checks that have very many; returns the ids of the new ones."""
    rows = [
        {
            **result.model_dump(),
            "id": uuid4(),
            "run_id": one.run_id,
            "snapshot_id": one.snapshot_id,
            "generation_id": one.generation_id,
        }
        for one in made
        for result in one.results
    ]
    if rows:
        # A check may have been deleted since, but its row stays.
        await tx.execute(insert(t.check_results).values(created_at=func.clock_timestamp()), rows)
        await tx.execute(_trim_stmt(), {"checks": [row["check_id"] for row in rows], "most": MOST_RESULTS})
    return [row["id"] for row in rows]


async def forget(tx: Transaction, generation_id: UUID, check_ids: Collection[UUID]) -> None:
    """Delete the results of these checks that a generation has stored, of a source table."""
    of = t.check_results.c
    await tx.execute(t.check_results.delete().where(of.generation_id == generation_id, of.check_id.in_(check_ids)))


async def results(tx: Transaction, check_id: UUID, *, limit: int, offset: int) -> tuple[int, list[StoredResult]]:
    """The number of results of a check that are kept, and some of them, newest first."""
    mine = t.check_results.c.check_id == check_id
    count = await tx.scalar(select(func.count()).select_from(t.check_results).where(mine)) or 0
    newest = (t.check_results.c.created_at.desc(), t.check_results.c.id)
    rows = await tx.execute(select(t.check_results).where(mine).order_by(*newest).limit(limit).offset(offset))
    return count, [StoredResult.model_validate(row._mapping) for row in rows]


async def result(tx: Transaction, check_id: UUID, result_id: UUID) -> StoredResult | None:
    """A result of a check."""
    query = select(t.check_results).where(t.check_results.c.id == result_id, t.check_results.c.check_id == check_id)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else StoredResult.model_validate(row._mapping)


async def newest(tx: Transaction, check_ids: Collection[UUID]) -> dict[UUID, StoredResult]:
    """The newest result of each of these checks that has one."""
    query = (
        select(t.check_results)
        .distinct(t.check_results.c.check_id)
        .where(t.check_results.c.check_id.in_(check_ids))
        .order_by(t.check_results.c.check_id, t.check_results.c.created_at.desc(), t.check_results.c.id)
    )
    return {row.check_id: StoredResult.model_validate(row._mapping) for row in await tx.execute(query)}


async def transitions(tx: Transaction, run_ids: Collection[UUID]) -> list[CheckTransition]:
    """The results in these runs of checks that have passed and did not before, or the other way round."""
    rows = await tx.execute(_transitions_stmt(), {"runs": list(run_ids)})
    found = [CheckTransition(row.run_id, CheckResult.model_validate(row._mapping), row.before) for row in rows]
    return [one for one in found if one.has_passed != one.had_passed]


async def of_versions(tx: Transaction, snapshot_ids: Collection[UUID]) -> dict[UUID, list[StoredResult]]:
    """The results of the checks that the runs of these versions made."""
    query = select(t.check_results).where(
        t.check_results.c.snapshot_id.in_(snapshot_ids), t.check_results.c.run_id.is_not(None)
    )
    found: dict[UUID, list[StoredResult]] = {}
    for row in await tx.execute(query.order_by(t.check_results.c.label, t.check_results.c.id)):
        found.setdefault(row.snapshot_id, []).append(StoredResult.model_validate(row._mapping))
    return found


# In the order of their creation.
ORDER = (t.checks.c.created_at, t.checks.c.id)


def _subject(subject: Subject) -> Column[Any]:
    return t.checks.c.saved_query_id if subject is Subject.VIEW else t.checks.c.source_table_id


def _select() -> Select[Any]:
    return select(t.checks)


def values_of(fields: CheckFields) -> dict[str, Any]:
    """The fields as the columns of a row."""
    assertion = fields.assertion
    return {
        **fields.model_dump(exclude={"assertion"}),
        "check_type": assertion.check_type,
        "column_name": assertion.column_name,
        "config": dict(assertion.config),
        "digest": assertion.digest,
        "reads": list(fields.reads),
        "tags": list(fields.tags),
    }


def check_of(row: Row[Any]) -> Check:
    """The check that a row of the table has."""
    values = dict(row._mapping)
    is_view = values["saved_query_id"] is not None
    assertion = Assertion(check_type=values["check_type"], column_name=values["column_name"], config=values["config"])
    return Check.model_validate(
        {
            **values,
            "assertion": assertion,
            "subject": Subject.VIEW if is_view else Subject.TABLE,
            "subject_id": values["saved_query_id"] if is_view else values["source_table_id"],
        }
    )


# Each of these is cached: building the statement takes longer than running it.


@cache
def _planned_stmt() -> Select[Any]:
    views, tables = t.saved_queries.alias("views"), t.source_tables.alias("tables")
    mine = any_(bindparam("subjects", type_=ARRAY(Uuid)))
    to = t.checks.c.config["to_subject_uuid"].astext.cast(Uuid)
    return (
        select(t.checks, views.c.name.label("view_name"), tables.c.name.label("table_name"))
        .outerjoin(views, _is_live(views.c, to))
        .outerjoin(tables, _is_live(tables.c, to))
        .where(or_(t.checks.c.saved_query_id == mine, t.checks.c.source_table_id == mine), _LIVE, t.checks.c.enabled)
        .order_by(*ORDER)
    )


def _is_live(owner: Any, to: ColumnElement[Any]) -> ColumnElement[bool]:  # noqa: ANN401 - the columns of two tables
    return and_(owner.id == to, owner.deleted_at.is_(None), owner.project_id == t.checks.c.project_id)


@cache
def _transitions_stmt() -> Select[Any]:
    mine, earlier = t.check_results, t.check_results.alias("earlier")
    before = (
        select(earlier.c.status)
        .where(
            earlier.c.check_id == mine.c.check_id,
            earlier.c.run_id.is_not(None),
            earlier.c.run_id != mine.c.run_id,
            earlier.c.created_at < mine.c.created_at,
        )
        .order_by(earlier.c.created_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    mine_of_runs = mine.c.run_id == any_(bindparam("runs", type_=ARRAY(Uuid)))
    return select(mine, before.label("before")).where(mine_of_runs).order_by(mine.c.id)


@cache
def _trim_stmt() -> Any:  # noqa: ANN401 - the statement's type is as long as the statement
    ranked = (
        select(
            t.check_results.c.id,
            func.row_number()
            .over(
                partition_by=t.check_results.c.check_id,
                order_by=(t.check_results.c.created_at.desc(), t.check_results.c.id),
            )
            .label("position"),
        )
        .where(t.check_results.c.check_id == any_(bindparam("checks", type_=ARRAY(Uuid))))
        .subquery()
    )
    old = select(ranked.c.id).where(ranked.c.position > bindparam("most"))
    return t.check_results.delete().where(t.check_results.c.id.in_(old))
