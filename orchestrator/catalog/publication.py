"""Publication: makes what the runs of a generation wrote visible to readers, all at once.

A transaction does it for all of them, so readers see all of it or none. Each statement is one for all runs: with
hundreds of views the round trips would take longest.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Row, Select, Text, Update, any_, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Uuid

from orchestrator.catalog import checks, generations, snapshots, tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import given, giving
from orchestrator.catalog.run_plans import results_of
from orchestrator.catalog.runs import end
from orchestrator.model.check import not_published
from orchestrator.model.errors import ChecksFailed
from orchestrator.model.generation import EndedRun, why_skipped
from orchestrator.model.run import RunStatus
from orchestrator.model.snapshot import Column, Snapshot, seen

_FINISHED_NOW = {"finished_at": func.clock_timestamp()}
ROLLED_BACK = "rolled_back"
_NOT_ALL = "Another view of its generation could not be published."
_GONE = "The view was deleted or its materialization was undone while the query ran."


class PublishedRun(NamedTuple):
    """A run whose result is visible now."""

    run_id: UUID
    saved_query_id: UUID
    rows: int
    bytes: int
    snapshot_id: UUID


class Unchanged(NamedTuple):
    """An open run whose query need not run, since it would give the rows of version `snapshot_id` again."""

    run_id: UUID
    saved_query_id: UUID
    snapshot_id: UUID
    reason: str
    started_at: datetime


class Published(NamedTuple):
    """The result of a publication.

    `with_other_columns` are the views of which readers may see other columns than before. `refused` are runs that
    could not be published, though their query had run.
    """

    published: tuple[PublishedRun, ...]
    unchanged: tuple[UUID, ...]
    with_other_columns: tuple[UUID, ...]
    refused: tuple[EndedRun, ...]


async def publish(tx: Transaction, run_ids: Collection[UUID], *, all_or_nothing: bool = False) -> Published:
    """Publish what these runs wrote, and complete them. Those whose view has not changed are ended as Skipped.

    A run that has ended, whose view is no longer materialized, or whose checks keep its result from readers, is left
    out, and the others are published. In the last case, and if a person has rolled the view back, those that read what
    it wrote are left out too. If `all_or_nothing`, so are all. A repetition changes nothing, and returns the same.
    """
    views = {row.id: row for row in await tx.execute(_lock_views_stmt(), {"runs": list(run_ids)})}
    runs = (await tx.execute(_lock_runs_stmt(), {"runs": list(run_ids)})).all()
    refused = _refused(runs, views)
    if all_or_nothing and refused:
        left = [run.id for run in runs if run.status == RunStatus.RUNNING and run.id not in refused]
        refused |= {one: EndedRun(run_id=one, status=RunStatus.SKIPPED, reason=_NOT_ALL) for one in left}
    ready = [run for run in runs if run.status == RunStatus.RUNNING and run.id not in refused]
    sealed = [Snapshot.model_validate(run.snapshot) for run in ready if run.snapshot is not None]
    unchanged = [
        Unchanged(run.id, run.saved_query_id, run.unchanged_id, run.unchanged_reason, run.started_at)
        for run in ready
        if run.snapshot is None
    ]
    columns = {view: row.columns for view, row in views.items()}
    changed = await make_current(tx, sealed, columns)
    await checks.record(
        tx,
        [
            checks.MadeResults(results_of(run.checks), run_id=run.id, snapshot_id=UUID(run.snapshot["id"]))
            for run in ready
            if run.snapshot is not None
        ],
    )
    await skip(tx, unchanged)
    await end(tx, refused.values())
    await generations.settle(tx, [run.generation_id for run in runs])
    # An earlier call has published these, whose answer was lost.
    done = [run for run in runs if run.status == RunStatus.COMPLETED]
    skipped = [run.id for run in runs if run.status == RunStatus.SKIPPED]
    return Published(
        published=(
            *(PublishedRun(one.run_id, one.saved_query_id, one.rows, one.bytes, one.id) for one in sealed),
            *(PublishedRun(run.id, run.saved_query_id, run.rows, run.bytes, run.snapshot_id) for run in done),
        ),
        unchanged=(*(one.run_id for one in unchanged), *skipped),
        with_other_columns=(*changed, *(one.saved_query_id for one in done)),
        refused=tuple(refused.values()),
    )


def _refused(runs: Iterable[Row[Any]], views: dict[UUID, Row[Any]]) -> dict[UUID, EndedRun]:
    refused: dict[UUID, EndedRun] = {}
    kept_back: dict[UUID, str] = {}  # the views that readers see no result of, and what is said of their readers
    waiting = list(runs)
    for run in waiting:
        view = views[run.saved_query_id]
        if run.status == RunStatus.CANCELLED and run.error_code == ROLLED_BACK:
            kept_back[run.saved_query_id] = f'"{view.name}" was rolled back while this generation ran.'
        reason = _why_not(run, view)
        failed = not_published(results_of(run.checks)) if run.status == RunStatus.RUNNING else None
        if failed is not None:  # its own step has said so before, and the workflow does not ask for it
            kept_back[run.saved_query_id] = why_skipped(view.name, RunStatus.FAILED)
            refused[run.id] = EndedRun(
                run_id=run.id, status=RunStatus.FAILED, error=failed, error_code=ChecksFailed.code
            )
        elif reason is not None:
            refused[run.id] = EndedRun(
                run_id=run.id, status=RunStatus.CANCELLED, error=reason, error_code="run_superseded"
            )
    found = bool(kept_back)
    while found:
        found = False
        for run in waiting:
            reason = next((kept_back[view] for view in run.parents or () if view in kept_back), None)
            if reason is not None and run.saved_query_id not in kept_back:
                found = True
                kept_back[run.saved_query_id] = reason
                if run.id not in refused:
                    refused[run.id] = EndedRun(run_id=run.id, status=RunStatus.SKIPPED, reason=reason)
    return refused


def _why_not(run: Row[Any], view: Row[Any]) -> str | None:
    if run.status != RunStatus.RUNNING:
        return None if run.status in {RunStatus.COMPLETED, RunStatus.SKIPPED} else run.error or "The run was ended."
    if run.snapshot is None and run.unchanged_id is None:
        return "Its query wrote no result."
    if run.snapshot is not None and run.snapshot["attempt"] != run.attempt:
        return "Another attempt of its query has begun."
    was_reverted = view.reverted_at is not None and run.started_at <= view.reverted_at
    return _GONE if view.deleted_at is not None or view.sync_frequency is None or was_reverted else None


async def keep_blocked(tx: Transaction, run_ids: Collection[UUID]) -> None:
    """Store what these open runs have written, and their checks keep from readers, as versions that are not published.

    The runs are still to be closed.
    """
    await tx.execute(_lock_views_stmt(), {"runs": list(run_ids)})
    made: list[checks.MadeResults] = []
    for run in (await tx.execute(_lock_runs_stmt(), {"runs": list(run_ids)})).all():
        results = results_of(run.checks)
        if run.status != RunStatus.RUNNING or run.snapshot is None or not_published(results) is None:
            continue
        version = Snapshot.model_validate(run.snapshot)
        if version.attempt == run.attempt:
            await snapshots.insert_blocked(tx, version)
            written = {"rows": version.rows, "bytes": version.bytes, "snapshot_id": version.id}
            await tx.execute(update(t.runs).where(t.runs.c.id == run.id).values(**written))
            made.append(checks.MadeResults(results, run_id=run.id, snapshot_id=version.id))
    await checks.record(tx, made)


async def make_current(
    tx: Transaction, sealed: Sequence[Snapshot], columns: Mapping[UUID, Iterable[Any]]
) -> list[UUID]:
    """Make these the current versions, and complete their runs; returns the views that may have other columns.

    The views must be locked. `columns` are those that readers saw of a view that had no version.
    """
    if not sealed:
        return []
    await snapshots.insert_new(tx, sealed)
    before = {
        row.saved_query_id: row.columns
        for row in await snapshots.supersede_current(tx, [one.saved_query_id for one in sealed])
    }
    await snapshots.set_current(tx, sealed)
    rows = [{"run": one.run_id, "rows": one.rows, "bytes": one.bytes, "snapshot_id": one.id} for one in sealed]
    await tx.execute(_complete_stmt(), giving(rows))
    return [
        one.saved_query_id
        for one in sealed
        if _columns(before.get(one.saved_query_id) or columns.get(one.saved_query_id, ())) != seen(one.columns)
    ]


async def skip(tx: Transaction, unchanged: Sequence[Unchanged]) -> None:
    """End runs whose query need not run, and record that their view's result is right for the moment of their start.

    Another version may be the current one by now, after a rollback. Of that nothing is known.
    """
    if not unchanged:
        return
    await tx.execute(_skip_stmt(), giving([{"run": one.run_id, "reason": one.reason} for one in unchanged]))
    rows = [{"view": one.saved_query_id, "version": one.snapshot_id, "moment": one.started_at} for one in unchanged]
    await tx.execute(_as_of_stmt(), giving(rows))


def _columns(stored: Iterable[Any]) -> tuple[Column, ...]:
    return seen(map(Column.model_validate, stored))


# Each of these is cached: building the statement takes longer than running it.


def _of_runs() -> Any:  # noqa: ANN401 - the statement's type is as long as the statement
    return t.runs.c.id == any_(bindparam("runs", type_=ARRAY(Uuid)))


@cache
def _lock_views_stmt() -> Select[Any]:
    view = t.saved_queries
    columns = (view.c.id, view.c.name, view.c.sync_frequency, view.c.deleted_at, view.c.reverted_at, view.c.columns)
    mine = select(t.runs.c.saved_query_id).where(_of_runs())
    # Always in this order, and views before runs, so that no two transactions wait for each other.
    return select(*columns).where(view.c.id.in_(mine)).order_by(view.c.id).with_for_update(key_share=True)


@cache
def _lock_runs_stmt() -> Select[Any]:
    run, plan = t.runs.c, t.run_plans.c
    columns = (run.id, run.saved_query_id, run.status, run.attempt, run.started_at, run.error, run.error_code)
    more = (run.parents, run.generation_id, run.rows, run.bytes, run.snapshot_id)
    passed_on = (plan.snapshot, plan.unchanged_id, plan.unchanged_reason, plan.checks)
    found = select(*columns, *more, *passed_on).outerjoin(t.run_plans, plan.run_id == run.id).where(_of_runs())
    return found.order_by(run.id).with_for_update(key_share=True, of=t.runs)


@cache
def _complete_stmt() -> Update:
    values: dict[str, Any] = {"rows": BigInteger(), "bytes": BigInteger(), "snapshot_id": Uuid()}
    rows = given(run=Uuid(), **values)
    change = update(t.runs).where(t.runs.c.id == rows.c.run)
    return change.values(status=RunStatus.COMPLETED, **_FINISHED_NOW, **{name: rows.c[name] for name in values})


@cache
def _skip_stmt() -> Update:
    rows = given(run=Uuid(), reason=Text())
    change = update(t.runs).where(t.runs.c.id == rows.c.run, t.runs.c.status == RunStatus.RUNNING)
    return change.values(status=RunStatus.SKIPPED, skipped_reason=rows.c.reason, **_FINISHED_NOW)


@cache
def _as_of_stmt() -> Update:
    rows = given(view=Uuid(), version=Uuid(), moment=DateTime(timezone=True))
    current = t.saved_queries.c.current_snapshot_id == rows.c.version
    change = update(t.saved_queries).where(t.saved_queries.c.id == rows.c.view, current)
    return change.values(data_as_of=rows.c.moment)
