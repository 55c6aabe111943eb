"""Versions: the snapshots of a view that can still be read, and the choice of the one that readers see."""

from uuid import UUID

from orchestrator.catalog import keys, runs, saved_queries, snapshots
from orchestrator.catalog.database import Database, Transaction
from orchestrator.catalog.journal import note
from orchestrator.engines.base import Engine
from orchestrator.following import Following
from orchestrator.model.errors import NotFound, NotMaterialized
from orchestrator.model.journal import Change, Verb
from orchestrator.model.principal import User
from orchestrator.model.run import Run
from orchestrator.model.saved_query import SavedQuery
from orchestrator.model.snapshot import Version, seen


class Versions:
    """The versions of every view."""

    def __init__(self, database: Database, engine: Engine) -> None:
        self._database = database
        self._engine = engine

    async def page(
        self, project_id: int, saved_query_id: UUID, *, limit: int, offset: int
    ) -> tuple[int, list[Version]]:
        """The number of a view's versions and one page of them, newest first. Raises NotFound."""
        async with self._database.begin() as tx:
            await _view(tx, project_id, saved_query_id)
            return await snapshots.page(tx, saved_query_id, limit=limit, offset=offset)

    async def get(self, project_id: int, saved_query_id: UUID, snapshot_id: UUID) -> Version:
        """A version that can still be read. Raises NotFound."""
        async with self._database.begin() as tx:
            await _view(tx, project_id, saved_query_id)
            return await _version(tx, saved_query_id, snapshot_id)

    async def pin(self, project_id: int, saved_query_id: UUID, snapshot_id: UUID, *, pinned: bool) -> Version:
        """Keep a version whatever its age, or no longer. Raises NotFound."""
        async with self._database.begin() as tx:
            await _view(tx, project_id, saved_query_id)
            version = await _version(tx, saved_query_id, snapshot_id)
            await snapshots.set_pinned(tx, snapshot_id, pinned=pinned)
            return version.model_copy(update={"pinned": pinned})

    async def roll_back(
        self, project_id: int, saved_query_id: UUID, snapshot_id: UUID, user: User, *, end_runs: bool
    ) -> tuple[SavedQuery, list[Run]]:
        """Make a version the current one, in one transaction; returns the view as it was, and the runs that it ended.

        `end_runs` ends what is in progress in the same transaction, so that it cannot publish any more. Raises
        NotFound, also for a version that has been removed, or NotMaterialized.
        """
        following = Following(self._engine, [])
        async with self._database.begin() as tx:
            await keys.lock_definitions(tx, project_id)
            view = await _view(tx, project_id, saved_query_id, lock=True)
            if not view.is_materialized:
                raise NotMaterialized
            version = await _version(tx, saved_query_id, snapshot_id)
            told = "The view was rolled back to an earlier result while this run was in progress."
            ended = await runs.end_running(tx, view.id, told, "rolled_back") if end_runs else []
            before = view.current_snapshot.id if view.current_snapshot else None
            if before != snapshot_id:
                shown = await snapshots.point_back_to(tx, version.snapshot) or view.columns
                change = Change(
                    field="current_snapshot_id",
                    action="changed",
                    before=None if before is None else str(before),
                    after=str(snapshot_id),
                )
                await note(tx, view, Verb.ROLLED_BACK, user, [change])
                if seen(shown) != seen(version.snapshot.columns):
                    following = Following(self._engine, [view.id])
                    await following.step(tx)
        await following.finish(self._database, project_id)
        return view, ended


async def _view(tx: Transaction, project_id: int, saved_query_id: UUID, *, lock: bool = False) -> SavedQuery:
    view = await saved_queries.find(tx, project_id, saved_query_id, lock=lock)
    if view is None:
        raise NotFound
    return view


async def _version(tx: Transaction, saved_query_id: UUID, snapshot_id: UUID) -> Version:
    version = await snapshots.find(tx, saved_query_id, snapshot_id)
    if version is None:
        raise NotFound("There is no such version, or it is no longer kept.")
    return version
