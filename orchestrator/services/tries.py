"""Tries: an edit of a view's query is run, compared with the current version, and saved or forgotten.

Only the rows of the try itself and its files change until it is promoted. It is planned here, so that it reads its
inputs as of the moment of the request, and runs on a worker.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from orchestrator.catalog import reads, saved_queries, snapshots, tries
from orchestrator.catalog.database import Database, Transaction
from orchestrator.engines.base import ClusterAnalyzer, QueryAnalyzer
from orchestrator.model.edit_try import EditTry, NamedTry, TryStatus
from orchestrator.model.errors import NotFound, TemporalUnavailable
from orchestrator.model.principal import User
from orchestrator.model.printable import code
from orchestrator.model.reading import ResultFormat
from orchestrator.reconciliation.current import CurrentLinks
from orchestrator.services.definitions import DefinitionService, ViewUpdate
from orchestrator.services.diffs import ComparedVersions, compared
from orchestrator.services.query_analysis import checked
from orchestrator.services.reading import ReadService, RowsRequest, ViewVersion
from orchestrator.services.try_planning import TryPlanner
from orchestrator.services.try_promotion import Promotion, require_result
from orchestrator.services.view_states import ViewState
from orchestrator.services.views import ViewService
from orchestrator.temporal.search_attributes import ViewRef
from orchestrator.temporal.try_workflows import TryWorkflows

_NO_LONGER_KEPT = "The version that was current when the edit was tried is no longer kept."
_NOTHING_TO_COMPARE = "The view had no current version when the edit was tried."


class ReadyTry(NamedTuple):
    """A try, or a member of one, that has a result, with its view, and what it is compared with.

    `no_diff` says why it is compared with nothing.
    """

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
        cluster: ClusterAnalyzer | None,
        definitions: DefinitionService,
        views: ViewService,
        reading: ReadService,
        workflows: TryWorkflows,
        current: CurrentLinks,
    ) -> None:
        self._database = database
        self._engine = engine
        self._planner = TryPlanner(database, engine, cluster)
        self._definitions = definitions
        self._views = views
        self._reading = reading
        self._workflows = workflows
        self._current = current

    async def start(
        self, project_id: int, saved_query_id: UUID, query: object, user: User, *, descendants: bool = False
    ) -> EditTry:
        """Begin to run an edited query of a view, and with `descendants` those of all materialized views that read it.

        All that they read is pinned now. Raises NotFound, NotMaterialized, InvalidQuery as saving it would,
        TooManyTries, or Invalid for too many descendants. Raises TemporalUnavailable, with nothing changed, if the
        server cannot be reached.
        """
        edited = await checked(query)
        await self._definitions.get(project_id, saved_query_id)
        view, edit = await self._planner.store(project_id, saved_query_id, edited, user, descendants=descendants)
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

    async def members(self, edit: EditTry) -> Sequence[NamedTry]:
        """The members of a try, each after those that it reads; the first is the edited view."""
        async with self._database.single() as tx:
            return await tries.list_members(tx, edit.id)

    async def ready(self, edit: EditTry, key: Sequence[str]) -> ReadyTry | None:
        """A try, or a member of one, with its result and what that is compared with; None if it has no result.

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
        """Save the edit of a try and make all that it has written the current versions, in one transaction.

        Raises NotFound; TryNotReady; TryOutdated if one of its views has another revision or current version than when
        the try was made; RunInProgress; or what saving raises.
        """
        edit = await self.get(project_id, saved_query_id, try_id)
        require_result(edit)
        promotion = Promotion(edit, self._engine, user)
        update = ViewUpdate(query=edit.query, edited_history_id=str(edit.base_revision_id))
        before, after = await self._definitions.update(project_id, saved_query_id, update, user, beside=promotion)
        await self._current.sync_all(project_id, promotion.names)
        await promotion.propagation.finish(self._database, project_id)
        await self._views.unpause_after_edit(before, after, user)
        return await self._views.show(project_id, saved_query_id)


async def _find(tx: Transaction, project_id: int, saved_query_id: UUID, try_id: UUID) -> EditTry:
    edit = await tries.find(tx, project_id, saved_query_id, try_id)
    if edit is None:
        raise NotFound("There is no such try, or it has expired.")
    return edit
