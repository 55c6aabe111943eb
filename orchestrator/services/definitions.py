"""Saving, finding, changing and deleting views. Nothing here runs a query or needs Temporal."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol
from uuid import UUID, uuid4

from orchestrator.catalog import audit_log, names, projects, runs, saved_queries
from orchestrator.catalog.audit_log import CreatedView, record
from orchestrator.catalog.database import Database, Transaction
from orchestrator.catalog.names import NameTarget
from orchestrator.engines.base import ClusterAnalyzer, QueryAnalyzer
from orchestrator.model.audit import AuditEntry, FieldChange, Verb, broken_readers
from orchestrator.model.base import now
from orchestrator.model.errors import EditConflict, InputsChanging, InUse, Invalid, InvalidQuery, NotFound
from orchestrator.model.freshness import Freshness
from orchestrator.model.names import check_name, name_key
from orchestrator.model.principal import User
from orchestrator.model.run import Run
from orchestrator.model.saved_query import Revision, SavedQuery, SyncFrequency
from orchestrator.services.found import found
from orchestrator.services.query_analysis import AnalyzedQuery, QueryAnalysis, checked, is_stale
from orchestrator.services.reader_guard import Checked, ReaderGuard
from orchestrator.services.timings import TimingUpdate, record_timing, timing_after
from orchestrator.services.view_columns import ColumnPropagation

_TRIES = 5


class ViewUpdate(TimingUpdate):
    """The changes that a client requests of a view: the fields that are set.

    `edited_history_id` is the revision that the client believes to be current; `soft_update` changes the query without
    it. `break_dependents` says that readers may stop binding.
    """

    name: str = ""
    query: Any = None
    description: str | None = None
    freshness: Freshness = Freshness.CLOCK
    max_staleness: SyncFrequency | None = None
    edited_history_id: str | None = None
    soft_update: bool = False
    break_dependents: bool = False


class WithEdit(Protocol):
    """Further work in the transaction of an edit, whose revision gets the id `revision_id`."""

    revision_id: UUID

    async def check(self, tx: Transaction, view: SavedQuery) -> None:
        """Raise an error if the edit must not be made. The view is locked, and is as it was before."""

    async def apply(self, tx: Transaction, view: SavedQuery) -> None:
        """Do the rest. The view is as it is after the edit."""


class DefinitionService:
    """The views of every project."""

    def __init__(
        self, database: Database, engine: QueryAnalyzer, guard: ReaderGuard, cluster: ClusterAnalyzer | None
    ) -> None:
        self._database = database
        self._engine = engine
        self._guard = guard
        self._analysis = QueryAnalysis(database, engine, cluster)

    async def create_or_update(
        self, project_id: int, draft: ViewUpdate, user: User
    ) -> tuple[SavedQuery | None, SavedQuery]:
        """Create a view, or update the live one of that name; returns it as it was (None if it is new) and as it is.

        All or nothing. Raises InvalidName, NameTaken, InvalidQuery, or EditConflict if the query of an existing view
        would change and `edited_history_id` is not its current revision.
        """
        check_name(draft.name)
        query = await checked(draft.query)
        for _ in range(_TRIES):
            analyzed = await self._analysis.analyze(project_id, query)
            async with self._database.single() as tx:
                existing = await names.view_of(tx, project_id, draft.name)
            checked_readers = await self._check_readers(project_id, existing, analyzed, draft)
            async with self._database.begin() as tx:
                await projects.lock_project(tx, project_id)
                if await is_stale(tx, project_id, analyzed) or await checked_readers.is_stale(tx, project_id):
                    continue
                view_id = await names.view_of(tx, project_id, draft.name)
                if view_id is None:
                    return None, await self._insert(tx, project_id, draft, analyzed, user)
                before = found(await saved_queries.find(tx, project_id, view_id, lock=True))
                propagation = await self._apply(tx, before, draft, analyzed, user, breaks=checked_readers.names)
                after = found(await saved_queries.find(tx, project_id, view_id))
            await propagation.finish(self._database, project_id)
            return before, after
        raise InputsChanging

    async def update(
        self,
        project_id: int,
        saved_query_id: UUID,
        update: ViewUpdate,
        user: User,
        *,
        beside: WithEdit | None = None,
    ) -> tuple[SavedQuery, SavedQuery]:
        """Change a view; returns it as it was and as it is. Its schedule is changed in the catalog only.

        `beside` is done in the same transaction. All or nothing. Raises NotFound, InvalidName, NameTaken, InvalidQuery,
        EditConflict, Invalid for a timing that cannot be set, ReadersBreak, or InUse if other views read it by the name
        that it would lose.
        """
        if update.is_set("name"):
            check_name(update.name)
        if update.max_staleness is SyncFrequency.NEVER:
            raise Invalid("The data of a view cannot be older than 'never'.", attr="max_staleness")
        query = await checked(update.query) if update.is_set("query") else None
        await self.get(project_id, saved_query_id)
        for _ in range(_TRIES):
            analyzed = None if query is None else await self._analysis.analyze(project_id, query)
            checked_readers = await self._check_readers(project_id, saved_query_id, analyzed, update)
            async with self._database.begin() as tx:
                await projects.lock_project(tx, project_id)
                if analyzed is not None and await is_stale(tx, project_id, analyzed):
                    continue
                if await checked_readers.is_stale(tx, project_id):
                    continue
                before = found(await saved_queries.find(tx, project_id, saved_query_id, lock=True))
                if beside is not None:
                    await beside.check(tx, before)
                await _rename(tx, before, update)
                await _apply_timing(tx, before, update)
                propagation = await self._apply(
                    tx, before, update, analyzed, user, breaks=checked_readers.names, beside=beside
                )
                after = found(await saved_queries.find(tx, project_id, saved_query_id))
                if beside is not None:
                    await beside.apply(tx, after)
            await propagation.finish(self._database, project_id)
            return before, after
        raise InputsChanging

    async def delete(self, project_id: int, saved_query_id: UUID, user: User) -> tuple[SavedQuery, list[Run]]:
        """Delete a view softly and free its name; returns it as it was, and the runs that it ended.

        Raises NotFound, or InUse, naming the views that read it.
        """
        async with self._database.begin() as tx:
            await projects.lock_project(tx, project_id)
            view = found(await saved_queries.find(tx, project_id, saved_query_id, lock=True))
            await _refuse_if_read(tx, view, "delete")
            await names.release_name(tx, saved_query_id=view.id)
            await saved_queries.mark_deleted(tx, view.id)
            await record(tx, view, Verb.DELETED, user)
            return view, await runs.cancel_running(tx, view.id, DELETED_MESSAGE, "deleted")

    async def get(self, project_id: int, saved_query_id: UUID) -> SavedQuery:
        """A live view. Raises NotFound."""
        async with self._database.single() as tx:
            return found(await saved_queries.find(tx, project_id, saved_query_id))

    async def page(
        self, project_id: int, *, search: str | None, name: str | None = None, limit: int, offset: int
    ) -> tuple[int, list[SavedQuery]]:
        """The number of live views that match and one page of them, newest first."""
        async with self._database.begin() as tx:
            return await saved_queries.page(tx, project_id, search=search, name=name, limit=limit, offset=offset)

    async def list_materialized(self, project_id: int, ids: Collection[UUID]) -> list[SavedQuery]:
        """Those of the ids that are live, materialized views of the project."""
        async with self._database.begin() as tx:
            return await saved_queries.list_materialized(tx, project_id, ids)

    async def activity(
        self, project_id: int, saved_query_id: UUID, *, limit: int, offset: int
    ) -> tuple[int, list[AuditEntry]]:
        """The number of entries about a view, deleted or not, and one page of them, newest first. Raises NotFound."""
        async with self._database.begin() as tx:
            if await saved_queries.get_project_id(tx, saved_query_id) != project_id:
                raise NotFound
            return await audit_log.page(tx, saved_query_id, limit=limit, offset=offset)

    async def _check_readers(
        self, project_id: int, saved_query_id: UUID | None, analyzed: AnalyzedQuery | None, update: ViewUpdate
    ) -> Checked:
        """The readers that the update breaks. Raises ReadersBreak, unless the update says that it may."""
        if analyzed is None or saved_query_id is None:
            return Checked()
        view = await self.get(project_id, saved_query_id)
        if analyzed.text == view.revision.text:
            return Checked()
        return await self._guard.of_view(view, analyzed, may_break=update.break_dependents)

    async def _insert(
        self, tx: Transaction, project_id: int, draft: ViewUpdate, analyzed: AnalyzedQuery, user: User
    ) -> SavedQuery:
        moment = now()
        view = SavedQuery(
            id=uuid4(),
            project_id=project_id,
            name=draft.name,
            description=draft.description,
            revision=Revision(
                id=uuid4(), number=1, query=analyzed.query, created_at=moment, translated=analyzed.translated
            ),
            columns=analyzed.columns,
            sync_frequency=None,
            sync_frequency_set_at=moment,
            created_by=user,
            created_at=moment,
        )
        await saved_queries.insert_new(tx, view, analyzed.inputs)
        await names.reserve_name(tx, project_id, draft.name, saved_query_id=view.id)
        await audit_log.record_created(tx, project_id, [CreatedView(view.id, view.name, analyzed.query)], user)
        return found(await saved_queries.find(tx, project_id, view.id))

    async def _apply(
        self,
        tx: Transaction,
        view: SavedQuery,
        update: ViewUpdate,
        analyzed: AnalyzedQuery | None,
        user: User,
        *,
        breaks: Sequence[str],
        beside: WithEdit | None = None,
    ) -> ColumnPropagation:
        """Change query and description, and record every field that the edit changes, also name and timing."""
        changes = _label_changes(view, update)
        propagation = ColumnPropagation(self._engine, [])
        if analyzed is not None and analyzed.text != view.revision.text:
            _require_current_revision(update, view)
            await refuse_cycle(tx, view, analyzed.inputs)
            await saved_queries.add_revision(
                tx,
                view,
                query=analyzed.query,
                columns=analyzed.columns,
                inputs=analyzed.inputs,
                by=user.id,
                revision_id=beside.revision_id if beside else None,
                translated=analyzed.translated,
            )
            changes.append(
                FieldChange(field="query", action="changed", before=view.revision.query, after=analyzed.query)
            )
            changes += broken_readers(breaks)
            if view.current_snapshot is None and analyzed.columns != view.columns:
                propagation = ColumnPropagation(self._engine, [view.id])
        elif analyzed is not None and analyzed.query != view.revision.query:
            await saved_queries.update_query_object(tx, view.revision.id, analyzed.query)
        if update.is_set("freshness") or update.is_set("max_staleness"):
            freshness = update.freshness if update.is_set("freshness") else view.freshness
            staleness = update.max_staleness if update.is_set("max_staleness") else view.max_staleness
            await saved_queries.set_freshness(tx, view.id, freshness, staleness)
        if update.is_set("description"):
            await saved_queries.set_description(tx, view.id, update.description)
        if changes:
            await record(tx, view, Verb.UPDATED, user, changes)
        timing = timing_after(view, update)
        if timing != view.timing:
            await record_timing(tx, view, timing, user)
        await propagation.step(tx)
        return propagation


# Fields whose changes are recorded as they are.
_LABELS = ("name", "description", "freshness", "max_staleness")
DELETED_MESSAGE = "The view was deleted while this run was in progress."


async def _rename(tx: Transaction, view: SavedQuery, update: ViewUpdate) -> None:
    if not update.is_set("name") or update.name == view.name:
        return
    if name_key(update.name) != name_key(view.name):
        await _refuse_if_read(tx, view, "rename")
        await names.release_name(tx, saved_query_id=view.id)
        await names.reserve_name(tx, view.project_id, update.name, saved_query_id=view.id)
    await saved_queries.rename(tx, view.id, update.name)


async def _apply_timing(tx: Transaction, view: SavedQuery, update: ViewUpdate) -> None:
    timing = timing_after(view, update)
    if timing is not None and timing != view.timing:
        await saved_queries.set_timing(tx, view.id, timing)


def _label_changes(view: SavedQuery, update: ViewUpdate) -> list[FieldChange]:
    fields = ((field, getattr(view, field), getattr(update, field)) for field in _LABELS if update.is_set(field))
    return [
        FieldChange(field=field, action="changed", before=before, after=after)
        for field, before, after in fields
        if before != after
    ]


def _require_current_revision(update: ViewUpdate, view: SavedQuery) -> None:
    """Raise EditConflict unless the client has seen the current query. The spelling of the UUID does not matter."""
    if update.soft_update:
        return
    try:
        seen = UUID(update.edited_history_id or "")
    except ValueError:
        seen = None
    if seen != view.revision.id:
        raise EditConflict(attr="edited_history_id")


async def refuse_cycle(tx: Transaction, view: SavedQuery, inputs: Sequence[NameTarget]) -> None:
    """Raise InvalidQuery if the view would read itself with these inputs."""
    start = [named.saved_query_id for named in inputs if named.saved_query_id is not None]
    path = await saved_queries.path_between(tx, start, view.id) if start else None
    if path is not None:
        raise InvalidQuery(f"Model contains a cycle: {' -> '.join([view.name, *path])}", attr="query")


async def _refuse_if_read(tx: Transaction, view: SavedQuery, verb: str) -> None:
    readers = await saved_queries.dependents(tx, saved_query_id=view.id)
    if readers:
        raise InUse(f"Cannot {verb} this view because other views depend on it: {', '.join(readers)}.")
