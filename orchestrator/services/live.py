"""The changes of projects that people look at: one poll of the catalog a process, however many pages are open.

A page hears of the views and generations that have changed, each with its state then. The state of a view is computed
once for all pages of its project.
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from orchestrator.catalog import activity_polls
from orchestrator.catalog.activity_polls import PolledRun
from orchestrator.catalog.database import Database
from orchestrator.model.base import now
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.view_board import ViewBoard
from orchestrator.services.sessions import SessionService
from orchestrator.services.view_board import ShownView, ViewBoardService

logger = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
# How long a session that has ended, or whose key was revoked, still hears of changes.
_SESSION_SECONDS = 5.0
# A page that does not read what it is sent is left out after so many events. It connects again when it reads again.
_MOST_UNREAD = 100
# Of more views that change within a second, the first ones are shown at once, and the others when they change again.
_MOST_VIEWS = 500


class LiveEvent(NamedTuple):
    """A message to the pages of a project: its name, and JSON."""

    name: str
    data: str


ENDED = LiveEvent("ended", "null")
# From now on nothing is missed. A page that was read before shows what was true then.
READY = LiveEvent("ready", "null")


@dataclass(eq=False)
class Subscription:
    """A page that listens: the hash of its session's token, and the events that it has not read yet.

    None ends it: it did not read, or the process stops.
    """

    project_id: int
    session: bytes
    events: asyncio.Queue[LiveEvent | None] = field(default_factory=lambda: asyncio.Queue(_MOST_UNREAD))

    def put(self, event: LiveEvent) -> bool:
        """Add an event; False if too many are unread."""
        try:
            self.events.put_nowait(event)
        except asyncio.QueueFull:
            return False
        return True

    def end(self, last: LiveEvent | None = None) -> None:
        """Make the end the next thing that is read, behind `last` if there is one."""
        while not self.events.empty():
            self.events.get_nowait()
        for one in (*([last] if last else ()), None):
            self.events.put_nowait(one)


@dataclass
class _Seen:
    """The state of a project at the last poll: its recent runs and generations by id, and the entries of its log."""

    runs: dict[UUID, tuple[UUID, str | None, bool]]
    generations: dict[UUID, str]
    entries: set[UUID]


class LiveService:
    """Polls while pages are open, and sends each what changes in its project."""

    def __init__(self, database: Database, board: ViewBoardService, sessions: SessionService) -> None:
        self._database = database
        self._board = board
        self._sessions = sessions
        self._pages: dict[int, set[Subscription]] = defaultdict(set)
        self._seen: dict[int, _Seen] = {}
        self._polling: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def subscribed(self, project_id: int, session: bytes) -> AsyncIterator[Subscription]:
        """The events of a project from now on, as long as the context lasts."""
        page = Subscription(project_id, session)
        self._pages[project_id].add(page)
        if project_id in self._seen:
            page.put(READY)
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        try:
            yield page
        finally:
            self._leave(page)

    async def close(self) -> None:
        """End all subscriptions, and the poll."""
        for page in self._all():
            page.end()
        self._pages.clear()
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)

    def _all(self) -> list[Subscription]:
        return [page for pages in self._pages.values() for page in pages]

    def _leave(self, page: Subscription) -> None:
        pages = self._pages.get(page.project_id, set())
        pages.discard(page)
        if not pages:
            self._pages.pop(page.project_id, None)
            self._seen.pop(page.project_id, None)

    async def _poll(self) -> None:
        rounds = 0
        while self._pages:
            try:
                await self._poll_once()
                rounds += 1
                if rounds * _POLL_SECONDS >= _SESSION_SECONDS:
                    rounds = 0
                    await self._end_sessions()
            except OrchestratorError as error:  # PostgreSQL is away for a moment; the pages stay
                logger.warning("open pages could not be kept up to date: %s", error)
            await asyncio.sleep(_POLL_SECONDS)

    async def _poll_once(self) -> None:
        projects = list(self._pages)
        async with self._database.single() as tx:
            rows = await activity_polls.recent_runs(tx, projects)
        async with self._database.single() as tx:
            entries = await activity_polls.recent_changes(tx, projects)
        found = {project: _Seen({}, {}, set()) for project in projects}
        for row in rows:
            _note(found[row.project], row)
        changed_by_people = defaultdict(set)
        for project, view, entry in entries:
            found[project].entries.add(entry)
            changed_by_people[project].add((entry, view))
        for project, seen in found.items():
            before = self._seen.get(project)
            self._seen[project] = seen
            if before is None:
                self._send(project, READY)
            else:
                await self._announce(project, before, seen, changed_by_people[project])

    async def _announce(self, project: int, before: _Seen, after: _Seen, entries: set[tuple[UUID, UUID]]) -> None:
        """Send what differs between two polls to the pages of the project."""
        views = {state[0] for run, state in after.runs.items() if before.runs.get(run) != state}
        views |= {state[0] for run, state in before.runs.items() if run not in after.runs and state[1] == "Running"}
        views |= {view for entry, view in entries if entry not in before.entries}
        generations = [key for key, status in after.generations.items() if before.generations.get(key) != status]
        moved = [key for key, status in before.generations.items() if status == "Running"]
        gone = [key for key in moved if key not in after.generations]
        moving = {key for key in after.generations if after.generations[key] == "Running"}
        changed = {*generations, *gone, *(moving if views else ())}
        if views:
            self._board.forget(project)
            self._send(project, LiveEvent("views", await self._states(project, list(views)[:_MOST_VIEWS])))
        if changed:
            async with self._database.single() as tx:
                statuses = await activity_polls.generations_of(tx, changed)
            shown = [{"id": str(key), "status": status} for key, status in statuses.items()]
            self._send(project, LiveEvent("generations", json.dumps(shown)))

    async def _states(self, project: int, views: Sequence[UUID]) -> str:
        moment = now()
        shown = await self._board.shown(project, ViewBoard([], {}), views)
        return json.dumps([_state(one, one.condition.condition(moment)) for one in shown])

    def _send(self, project: int, event: LiveEvent) -> None:
        for page in list(self._pages.get(project, ())):
            if not page.put(event):
                page.end()
                self._leave(page)

    async def _end_sessions(self) -> None:
        """End the pages whose session has ended."""
        working = await self._sessions.working({page.session for page in self._all()})
        for page in self._all():
            if page.session not in working:
                page.end(ENDED)
                self._leave(page)


def _note(seen: _Seen, row: PolledRun) -> None:
    seen.generations[row.generation] = row.generation_status
    if row.run is not None and row.view is not None:
        seen.runs[row.run] = (row.view, row.status, bool(row.attempt))


def _state(shown: ShownView, condition: str) -> dict[str, Any]:
    view = shown.condition.view
    snapshot = view.current_snapshot
    return {
        "id": str(view.id),
        "condition": condition,
        "rows": snapshot.rows if snapshot else None,
        "bytes": snapshot.bytes if snapshot else None,
        "seconds": shown.trend[-1][0] if shown.trend else None,
        "data_as_of": view.data_as_of.isoformat() if view.data_as_of else None,
    }
