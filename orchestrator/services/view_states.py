"""A view together with the state of its schedule."""

from uuid import UUID

from orchestrator.model.base import Value
from orchestrator.model.errors import TemporalUnavailable
from orchestrator.model.saved_query import SavedQuery
from orchestrator.reconciliation.runs import RunSync
from orchestrator.services.definitions import DefinitionService
from orchestrator.temporal.schedule_state import ScheduleInfo
from orchestrator.temporal.schedules import Schedules


class ViewState(Value):
    """A view and the state of its schedule.

    `schedule` is None if the view has none, or if Temporal does not answer: reading a definition must not depend on it.
    """

    view: SavedQuery
    schedule: ScheduleInfo | None = None
    deleted: bool = False


class ViewStates:
    """The current state of views, as every operation on a view returns it."""

    def __init__(self, definitions: DefinitionService, schedules: Schedules, run_sync: RunSync) -> None:
        self._definitions = definitions
        self._schedules = schedules
        self._run_sync = run_sync

    async def show(self, project_id: int, saved_query_id: UUID) -> ViewState:
        """A view's state. A run whose workflow an operator has terminated is closed first. Raises NotFound."""
        view = await self._definitions.get(project_id, saved_query_id)
        try:
            if view.newest_run is not None and await self._run_sync.close_if_ended(view.newest_run) != view.newest_run:
                view = await self._definitions.get(project_id, saved_query_id)
        except TemporalUnavailable:
            return ViewState(view=view)
        return await self.with_schedule(view)

    async def with_schedule(self, view: SavedQuery) -> ViewState:
        """The state of a view that was just read."""
        try:
            schedule = await self._schedules.find(view.id) if view.is_materialized else None
        except TemporalUnavailable:
            schedule = None
        return ViewState(view=view, schedule=schedule)
