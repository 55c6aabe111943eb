"""Tries: an edit of a view's query is run, compared with the current version, and saved or forgotten.

Only the rows of the try itself and its files change until it is promoted. It is planned here, so that it reads its
inputs as of the moment of the request, and runs on a worker.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from orchestrator.catalog import projects, reads, run_inputs, runs, saved_queries, snapshots, tries
from orchestrator.catalog.audit_log import record
from orchestrator.catalog.database import Database, Transaction
from orchestrator.engines.base import QueryAnalyzer
from orchestrator.model.audit import FieldChange, Verb
from orchestrator.model.base import now
from orchestrator.model.edit_try import MOST_OF_A_PROJECT, MOST_OF_A_VIEW, EditTry, TryStatus
from orchestrator.model.errors import (
    InputMissing,
    InputsChanging,
    InvalidQuery,
    NotFound,
    NotMaterialized,
    PlanTooLarge,
    RunInProgress,
    TemporalUnavailable,
    TooManyTries,
    TryNotReady,
    TryOutdated,
)
from orchestrator.model.principal import User
from orchestrator.model.printable import code
from orchestrator.model.reading import ResultFormat
from orchestrator.model.run import Relation, RunPlan, Trigger
from orchestrator.model.saved_query import SavedQuery
from orchestrator.model.snapshot import Snapshot, seen
from orchestrator.reconciliation.current import CurrentLinks
from orchestrator.services.definitions import DefinitionService, ViewUpdate, refuse_cycle
from orchestrator.services.diffs import ComparedVersions, compared
from orchestrator.services.planning import LARGEST_PLAN_BYTES
from orchestrator.services.query_analysis import AnalyzedQuery, QueryAnalysis, checked, is_stale
from orchestrator.services.reading import ReadService, RowsRequest, ViewVersion
from orchestrator.services.view_columns import ColumnPropagation
from orchestrator.services.view_states import ViewState
from orchestrator.services.views import ViewService
from orchestrator.temporal import contract
from orchestrator.temporal.search_attributes import ViewRef
from orchestrator.temporal.try_workflows import TryWorkflows

LASTS = timedelta(days=1)
_ATTEMPTS = 5
_NOT_READY = {
    TryStatus.RUNNING: "The query of this try is still running. Ask for it until its status is Ready.",
    TryStatus.PROMOTED: "This try has been promoted already.",
}
_NO_LONGER_KEPT = "The version that was current when the edit was tried is no longer kept."
_NOTHING_TO_COMPARE = "The view had no current version when the edit was tried."


class ReadyTry(NamedTuple):
    """A try that has a result, with its view, and what it is compared with. `no_diff` says why it is with nothing."""

    edit: EditTry
    version: ViewVersion
    versions: ComparedVersions | None
    no_diff: str | None


class TryService:
    """The tries of every view."""

    def __init__(
        self,
        *,
        database: Database,
        engine: QueryAnalyzer,
        definitions: DefinitionService,
        views: ViewService,
        reading: ReadService,
        workflows: TryWorkflows,
        current: CurrentLinks,
    ) -> None:
        self._database = database
        self._engine = engine
        self._analysis = QueryAnalysis(database, engine)
        self._definitions = definitions
        self._views = views
        self._reading = reading
        self._workflows = workflows
        self._current = current

    async def start(self, project_id: int, saved_query_id: UUID, query: object, user: User) -> EditTry:
        """Begin to run an edited query of a view, whose inputs are pinned now.

        Raises NotFound, NotMaterialized, InvalidQuery as saving it would, or TooManyTries. Raises TemporalUnavailable,
        with nothing changed, if the server cannot be reached.
        """
        edited = await checked(query)
        await self._definitions.get(project_id, saved_query_id)
        view, edit = await self._insert(project_id, saved_query_id, edited, user)
        details = f"An edit that {code(user.email)} tries over the API."
        try:
            await self._workflows.start(edit, ViewRef(project_id=project_id, name=view.name), details)
        except TemporalUnavailable:
            # If the server has it all the same, its workflow finds no such try and ends, unless it has begun.
            async with self._database.begin() as tx:
                gone = await tries.delete_unstarted(tx, edit.id)
                if gone:
                    await reads.end(tx, edit.id)
            if gone:
                raise
        return edit

    async def get(self, project_id: int, saved_query_id: UUID, try_id: UUID) -> EditTry:
        """A try. Raises NotFound, also if it has expired."""
        async with self._database.begin() as tx:
            return await _find(tx, project_id, saved_query_id, try_id)

    async def list(self, project_id: int, saved_query_id: UUID) -> Sequence[EditTry]:
        """The tries of a view, newest first. Raises NotFound."""
        await self._definitions.get(project_id, saved_query_id)
        async with self._database.single() as tx:
            return await tries.list_shown(tx, project_id, saved_query_id)

    async def ready(self, edit: EditTry, key: Sequence[str]) -> ReadyTry | None:
        """A try with its result and what that is compared with; None if it has no result.

        Raises NotFound if its view was deleted, Invalid for a key that is not in both versions.
        """
        if edit.snapshot is None or edit.status is not TryStatus.READY:
            return None
        async with self._database.begin() as tx:
            view = await saved_queries.find(tx, edit.project_id, edit.saved_query_id)
            if view is None:
                raise NotFound
            before = None
            if edit.base_snapshot_id is not None:
                before = await snapshots.find(tx, view.id, edit.base_snapshot_id)
        version = ViewVersion(view, edit.snapshot)
        if before is None:
            return ReadyTry(edit, version, None, _NO_LONGER_KEPT if edit.base_snapshot_id else _NOTHING_TO_COMPARE)
        versions = compared(view.name, before.snapshot, edit.snapshot, key)
        return ReadyTry(edit, version, versions._replace(is_published=False), None)

    async def rows(self, found: ReadyTry, most: int, *, large_as_text: bool) -> bytes:
        """The first rows of a try's result: JSON arrays, separated by commas. Raises the errors of a query."""
        wanted = RowsRequest(format=ResultFormat.JSON, limit=most, large_as_text=large_as_text)
        async with self._reading.rows(found.edit.project_id, found.version, wanted, leases=False) as stream:
            return b"".join([chunk async for chunk in stream.chunks()])

    async def forget(self, project_id: int, saved_query_id: UUID, try_id: UUID) -> None:
        """End a try, and remove what it wrote. Raises NotFound.

        If Temporal does not answer, the reconciler cancels a query that runs; it can no longer record a result.
        """
        async with self._database.begin() as tx:
            edit = await _find(tx, project_id, saved_query_id, try_id)
            await tries.remove(tx, edit.id)
        if edit.status is TryStatus.RUNNING:
            with suppress(TemporalUnavailable):
                await self._workflows.cancel(edit)

    async def promote(self, project_id: int, saved_query_id: UUID, try_id: UUID, user: User) -> ViewState:
        """Save the edit of a try and make its result the current version, in one transaction.

        Raises NotFound; TryNotReady; TryOutdated if the view has another revision or current version than the edit was
        tried against; RunInProgress; or what saving raises.
        """
        edit = await self.get(project_id, saved_query_id, try_id)
        if edit.status is not TryStatus.READY or edit.snapshot is None:
            raise TryNotReady(_NOT_READY.get(edit.status))
        promotion = _Promotion(edit, self._engine, user)
        update = ViewUpdate(query=edit.query, edited_history_id=str(edit.base_revision_id))
        before, after = await self._definitions.update(project_id, saved_query_id, update, user, beside=promotion)
        await self._current.sync(project_id, after.name)
        await promotion.propagation.finish(self._database, project_id)
        await self._views.unpause_after_edit(before, after, user)
        return await self._views.show(project_id, saved_query_id)

    async def _insert(
        self, project_id: int, saved_query_id: UUID, edited: dict[str, object], user: User
    ) -> tuple[SavedQuery, EditTry]:
        for _ in range(_ATTEMPTS):
            analyzed = await self._analysis.analyze(project_id, edited)
            async with self._database.begin() as tx:
                await projects.lock_project(tx, project_id)
                if await is_stale(tx, project_id, analyzed):
                    continue
                view = await saved_queries.find(tx, project_id, saved_query_id)
                if view is None:
                    raise NotFound
                if not view.is_materialized:
                    raise NotMaterialized
                await refuse_cycle(tx, view, analyzed.inputs)
                await _refuse_too_many(tx, view)
                relations = await _relations(tx, project_id, analyzed)
                edit = _new_try(view, analyzed, user)
                read = [one.snapshot_id for one in relations if one.kind == "snapshot"]
                if not await reads.begin(tx, edit.id, project_id, read, client_query_id=None, lasts=LASTS):
                    continue
                return view, await tries.insert_new(tx, edit, _plan(view, edit, relations), LASTS)
        raise InputsChanging


class _Promotion:
    """The part of a promotion that is done in the transaction of the edit. See WithEdit."""

    def __init__(self, edit: EditTry, engine: QueryAnalyzer, user: User) -> None:
        self.revision_id = edit.revision_id
        self.propagation = ColumnPropagation(engine, [])
        self._edit = edit
        self._engine = engine
        self._user = user
        self._snapshot: Snapshot | None = None
        self._columns = seen(())

    async def check(self, tx: Transaction, view: SavedQuery) -> None:
        """Raise an error if the try is not there any more, or the view is not as it was."""
        edit = await tries.find(tx, view.project_id, view.id, self._edit.id, lock=True)
        if edit is None:
            raise NotFound
        if not view.is_materialized:
            raise NotMaterialized
        if edit.status is not TryStatus.READY or edit.snapshot is None:
            raise TryOutdated if edit.status is TryStatus.PROMOTED else TryNotReady(_NOT_READY.get(edit.status))
        current = view.current_snapshot.id if view.current_snapshot else None
        if view.revision.id != edit.base_revision_id or current != edit.base_snapshot_id:
            raise TryOutdated
        if await runs.list_open(tx, [view.id]):
            raise RunInProgress  # it would replace the result with that of the older query
        self._snapshot = edit.snapshot
        before = None if current is None else await snapshots.find(tx, view.id, current)
        self._columns = view.columns if before is None else before.snapshot.columns

    async def apply(self, tx: Transaction, view: SavedQuery) -> None:
        """Publish the result of the try."""
        snapshot, edit = self._snapshot, self._edit
        assert snapshot is not None  # noqa: S101 - `check` has set it
        await tries.promote(tx, edit, snapshot, contract.try_workflow_id(edit.id))
        before = None if edit.base_snapshot_id is None else str(edit.base_snapshot_id)
        change = FieldChange(field="current_snapshot_id", action="changed", before=before, after=str(snapshot.id))
        await record(tx, view, Verb.UPDATED, self._user, [change])
        if seen(self._columns) != seen(snapshot.columns):
            self.propagation = ColumnPropagation(self._engine, [view.id])
            await self.propagation.step(tx)


async def _find(tx: Transaction, project_id: int, saved_query_id: UUID, try_id: UUID) -> EditTry:
    edit = await tries.find(tx, project_id, saved_query_id, try_id)
    if edit is None:
        raise NotFound("There is no such try, or it has expired.")
    return edit


async def _refuse_too_many(tx: Transaction, view: SavedQuery) -> None:
    of_view, of_project = await tries.count_open(tx, view.project_id, view.id)
    if of_view >= MOST_OF_A_VIEW:
        raise TooManyTries(f"This view has {of_view} tries, and may have no more. Forget or promote one first.")
    if of_project >= MOST_OF_A_PROJECT:
        raise TooManyTries(f"This project has {of_project} tries, and may have no more. Forget some of them first.")


async def _relations(tx: Transaction, project_id: int, analyzed: AnalyzedQuery) -> tuple[Relation, ...]:
    names = [one.name for one in analyzed.inputs]
    try:
        return await run_inputs.named(tx, project_id, names) if names else ()
    except InputMissing as error:
        raise InvalidQuery(f"Invalid query: {error.message}", attr="query") from None


def _new_try(view: SavedQuery, analyzed: AnalyzedQuery, user: User) -> EditTry:
    is_changed = analyzed.query["query"] != view.revision.sql
    moment = now()
    return EditTry(
        id=uuid4(),
        project_id=view.project_id,
        saved_query_id=view.id,
        status=TryStatus.RUNNING,
        query=analyzed.query,
        revision_id=uuid4() if is_changed else view.revision.id,
        base_revision_id=view.revision.id,
        base_snapshot_id=view.current_snapshot.id if view.current_snapshot else None,
        created_by=user.id,
        created_at=moment,
        expires_at=moment + LASTS,
    )


def _plan(view: SavedQuery, edit: EditTry, relations: tuple[Relation, ...]) -> RunPlan:
    """The plan of a try, whose limits the worker decides. Raises PlanTooLarge as InvalidQuery."""
    plan = RunPlan(
        run_id=edit.id,
        generation_id=edit.id,
        project_id=view.project_id,
        saved_query_id=view.id,
        revision_id=edit.revision_id,
        name=view.name,
        sql=str(edit.query["query"]),
        relations=relations,
        timeout_seconds=0,
        trigger=Trigger.API,
        full_refresh=True,
    )
    if len(plan.model_dump_json().encode()) > LARGEST_PLAN_BYTES:
        raise InvalidQuery(PlanTooLarge().message, attr="query")
    return plan
