"""The promotion of a try: its edit is saved, and all that it has written becomes visible, in one transaction."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from orchestrator.catalog import audit_log, runs, tries, views_to_run
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.views_to_run import ViewToRun
from orchestrator.engines.base import QueryAnalyzer
from orchestrator.model.audit import FieldChange, Verb
from orchestrator.model.edit_try import EditTry, NamedTry, TryStatus
from orchestrator.model.errors import NotFound, NotMaterialized, RunInProgress, TryNotReady, TryOutdated
from orchestrator.model.principal import User
from orchestrator.model.run import ViewRelation
from orchestrator.model.saved_query import SavedQuery
from orchestrator.services.view_columns import ColumnPropagation
from orchestrator.temporal import contract

_NOT_READY = {
    TryStatus.RUNNING: "The queries of this try are still running. Ask for it until its status is Ready.",
    TryStatus.PROMOTED: "This try has been promoted already.",
}


def require_result(edit: EditTry) -> None:
    """Raise TryNotReady unless the try has ended with a result."""
    if edit.status is not TryStatus.READY or edit.snapshot is None:
        raise TryNotReady(_NOT_READY.get(edit.status))


class Promotion:
    """The part of a promotion that is done in the transaction of the edit. See WithEdit.

    Every view of the try must be as it was when the try was made: its revision, its current version, and the texts of
    the views that are evaluated inside its query. `names` are those of the views whose results become visible.
    """

    def __init__(self, edit: EditTry, engine: QueryAnalyzer, user: User) -> None:
        self.revision_id = edit.revision_id
        self.propagation = ColumnPropagation(engine, [])
        self.names: tuple[str, ...] = ()
        self._edit = edit
        self._engine = engine
        self._user = user
        self._written: list[NamedTry] = []

    async def check(self, tx: Transaction, view: SavedQuery) -> None:
        """Raise an error if the try is not there any more, or one of its views is not as it was."""
        edit = await tries.find(tx, view.project_id, view.id, self._edit.id, lock=True)
        if edit is None:
            raise NotFound
        if not view.is_materialized:
            raise NotMaterialized
        if edit.status is TryStatus.PROMOTED:
            raise TryOutdated
        require_result(edit)
        current = view.current_snapshot.id if view.current_snapshot else None
        if view.revision.id != edit.base_revision_id or current != edit.base_snapshot_id:
            raise TryOutdated
        members = await tries.list_members(tx, edit.id)
        self._written = [one for one in members if one.edit.status is TryStatus.READY]
        self.names = tuple(one.name for one in self._written)
        await self._check_members(tx)
        open_runs = {run.saved_query_id for run in await runs.list_open(tx, list(self._by_view()))}
        if open_runs:  # they would replace the results with those of the older query
            raise RunInProgress(_runs_now([one for one in self._written if one.edit.saved_query_id in open_runs]))

    async def apply(self, tx: Transaction, view: SavedQuery) -> None:
        """Publish all results of the try."""
        written = [one.edit for one in self._written]
        changed = await tries.promote(tx, written, contract.try_workflow_id(self._edit.id))
        names = {edit.saved_query_id: name for name, edit in self._written}
        changes = {edit.saved_query_id: [_change(edit)] for edit in written}
        await audit_log.record_all(tx, view.project_id, names, Verb.UPDATED, self._user, changes=changes)
        self.propagation = ColumnPropagation(self._engine, changed)
        await self.propagation.step(tx)

    async def _check_members(self, tx: Transaction) -> None:
        plans = await tries.plans(tx, [one.edit.id for one in self._written])
        inside = {one.id: one for plan in plans for one in plan.relations if one.kind == "view"}
        others = self._by_view().keys() - {self._edit.saved_query_id}
        found = await views_to_run.load(tx, [*others, *inside])
        changes = [
            *(_changed(one, found) for one in self._written if one.edit.saved_query_id in others),
            *(_changed_inside(one, found) for one in inside.values()),
        ]
        change = next(filter(None, changes), None)
        if change is not None:
            raise TryOutdated(f"{change} since this edit was tried. Try it again.")

    def _by_view(self) -> Mapping[UUID, NamedTry]:
        return {one.edit.saved_query_id: one for one in self._written}


def _changed(member: NamedTry, views: Mapping[UUID, ViewToRun]) -> str | None:
    """How a view that reads the edited one is not as it was."""
    view = views[member.edit.saved_query_id]
    if not view.is_live:
        return f'"{member.name}" was deleted'
    if not view.is_materialized:
        return f'The materialization of "{member.name}" was undone'
    if view.revision_id != member.edit.base_revision_id:
        return f'"{member.name}" was edited'
    if view.current_snapshot_id != member.edit.base_snapshot_id:
        return f'"{member.name}" was refreshed or rolled back'
    return None


def _changed_inside(read: ViewRelation, views: Mapping[UUID, ViewToRun]) -> str | None:
    """How a view is not as it was that was evaluated inside a query of the try."""
    view = views[read.id]
    if not view.is_live or view.sql != read.sql:
        return f'"{read.name}" was {"edited" if view.is_live else "deleted"}'
    return None if view.current_snapshot_id is None else f'"{read.name}" was refreshed for the first time'


def _runs_now(members: Sequence[NamedTry]) -> str | None:
    """The error for runs that are in progress; None for the usual one, if it is of the edited view."""
    if members[0].edit.member_of is None:
        return None
    return f'A run of "{members[0].name}" is in progress. Cancel it, or promote the try before the next one.'


def _change(edit: EditTry) -> FieldChange:
    before = None if edit.base_snapshot_id is None else str(edit.base_snapshot_id)
    after = None if edit.snapshot is None else str(edit.snapshot.id)
    return FieldChange(field="current_snapshot_id", action="changed", before=before, after=after)
