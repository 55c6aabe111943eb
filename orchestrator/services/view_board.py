"""The list of a project's views with their conditions: found and counted in a list that is kept for seconds.

To compute the condition of ten thousand views takes longer than a page may. So which views match is at most some
seconds old, and all that is shown of them is of now.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from orchestrator.catalog import view_board
from orchestrator.catalog.database import Database
from orchestrator.model.condition import ViewCondition
from orchestrator.model.view_board import ViewBoard
from orchestrator.services.conditions import ConditionService

# A list is as good as new for so long, or for twenty times as long as it takes to read it.
_FRESH_SECONDS = 1.0
_SHARE = 20.0
# A request waits so long for a new list, and has the old one if that takes longer: of a large project. One that is
# older than this is shown no more.
_PATIENCE_SECONDS = 0.1
_OLDEST_SECONDS = 60.0
_MOST_PROJECTS = 50


class ShownView(NamedTuple):
    """A view of the list: its condition, the last runs as seconds and statuses, and how many of its checks fail."""

    condition: ViewCondition
    trend: Sequence[tuple[float, str]]
    failing_checks: int


class _Kept(NamedTuple):
    board: ViewBoard
    read_at: float
    took: float


class ViewBoardService:
    """The lists of the projects that were looked at last."""

    def __init__(self, database: Database, conditions: ConditionService) -> None:
        self._database = database
        self._conditions = conditions
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._reading: dict[int, asyncio.Task[ViewBoard]] = {}

    async def board(self, project_id: int) -> ViewBoard:
        """The views of a project, at most some seconds ago."""
        kept = self._kept.get(project_id)
        age = float("inf") if kept is None else time.monotonic() - kept.read_at
        if kept is not None and age <= max(_FRESH_SECONDS, _SHARE * kept.took):
            return kept.board
        reading = self._reading.get(project_id)
        if reading is None:
            reading = asyncio.create_task(self._read(project_id))
            self._reading[project_id] = reading
            reading.add_done_callback(lambda task: self._ended(project_id, task))
        if kept is not None and age <= _OLDEST_SECONDS:
            await asyncio.wait([reading], timeout=_PATIENCE_SECONDS)
            if not reading.done():
                return kept.board
        return await asyncio.shield(reading)

    def forget(self, project_id: int) -> None:
        """Read the list again at the next request, since something was changed."""
        self._kept.pop(project_id, None)

    async def shown(self, project_id: int, board: ViewBoard, views: Sequence[UUID]) -> list[ShownView]:
        """The state of these views now, in this order. One that was deleted since is left out."""
        found = {one.view.id: one for one in await self._conditions.of_views(project_id, views)}
        async with self._database.single() as tx:
            trends = await view_board.durations(tx, views)
        return [
            ShownView(found[view], trends.get(view, ()), board.failing_checks.get(view, 0))
            for view in views
            if view in found
        ]

    async def close(self) -> None:
        """Wait for lists that are being read. Call this before the database is closed."""
        await asyncio.gather(*self._reading.values(), return_exceptions=True)

    async def _read(self, project_id: int) -> ViewBoard:
        began = time.monotonic()
        async with self._database.begin() as tx:
            board = ViewBoard(await view_board.rows(tx, project_id), await view_board.failing_checks(tx, project_id))
        self._kept[project_id] = _Kept(board, began, time.monotonic() - began)
        self._kept.move_to_end(project_id)
        while len(self._kept) > _MOST_PROJECTS:
            self._kept.popitem(last=False)
        return board

    def _ended(self, project_id: int, task: asyncio.Task[ViewBoard]) -> None:
        self._reading.pop(project_id, None)
        if not task.cancelled():
            task.exception()  # those who wait for it have it; without them it is not an error that was lost
