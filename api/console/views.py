"""The list of a project's views."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from api.console.rendering import page_url
from api.console.routes import PageRoute
from api.console.visitors import AskedPage
from api.console.words import MISSING
from orchestrator.model.base import now
from orchestrator.model.condition import Condition
from orchestrator.model.names import MAX_LENGTH
from orchestrator.model.principal import Scope
from orchestrator.model.saved_query import SavedQuery, SyncFrequency
from orchestrator.services.view_board import ShownView

router = APIRouter(prefix="/projects/{project_id}", route_class=PageRoute, include_in_schema=False)

_ON_A_PAGE = 50
# Those first that need attention.
_CONDITIONS = (
    Condition.FAILED,
    Condition.RUNNING,
    Condition.STALE,
    Condition.PAUSED,
    Condition.MODIFIED,
    Condition.CANCELLED,
    Condition.NEVER_RUN,
    Condition.FRESH,
    Condition.PLAIN,
)
_LONGEST_WHY = 300


@router.get("/views")
async def list_views(
    page: AskedPage,
    search: Annotated[str, Query(max_length=MAX_LENGTH)] = "",
    condition: Condition | None = None,
    *,
    failing: bool = False,
    after: UUID | None = None,
    before: UUID | None = None,
) -> Response:
    """Find views, and see what each of them is doing."""
    page.require(Scope.VIEW_READ)
    service = page.services.view_board
    async with page.shares.turn(("project", page.project_id)):
        board = await service.board(page.project_id)
        found = board.page(
            search=search, condition=condition, failing=failing, after=after, before=before, limit=_ON_A_PAGE
        )
        shown = await service.shown(page.project_id, board, [row.id for row in found.rows])
    moment = now()
    asked: dict[str, Any] = {"search": search, "condition": condition, "failing": int(failing) or None}
    path = f"{page.base}/views"
    return page.render(
        "views.html",
        page=found,
        views=[_row(one, moment) for one in shown],
        conditions=_CONDITIONS,
        before=found.before and page_url(path, **asked, before=found.before),
        after=found.after and page_url(path, **asked, after=found.after),
        **asked,
    )


@dataclass(frozen=True)
class _Row:
    """A view as the list shows it."""

    id: UUID
    name: str
    condition: Condition
    why: str
    data_as_of: datetime | None
    timing: str
    next_run_at: datetime | None
    rows: int | None
    bytes: int | None
    seconds: float | None
    trend: list[tuple[float, str]]
    failing_checks: int


def _row(shown: ShownView, moment: datetime) -> _Row:
    found = shown.condition
    view, snapshot = found.view, found.view.current_snapshot
    condition = found.condition(moment)
    return _Row(
        id=view.id,
        name=view.name,
        condition=condition,
        why=_why(condition, view, found.stale_reasons(moment)),
        data_as_of=view.data_as_of,
        timing=timing_of(view.sync_frequency, view.cron.expression if view.cron else None),
        next_run_at=found.schedule.next_run_at if found.schedule else None,
        rows=snapshot.rows if snapshot else None,
        bytes=snapshot.bytes if snapshot else None,
        seconds=shown.trend[-1][0] if shown.trend else None,
        trend=list(shown.trend),
        failing_checks=shown.failing_checks,
    )


def _why(condition: Condition, view: SavedQuery, stale: list[str]) -> str:
    if condition is Condition.FAILED:
        return (view.latest_error or "").partition("\n")[0][:_LONGEST_WHY]
    return stale[0][:_LONGEST_WHY] if condition is Condition.STALE and stale else ""


def timing_of(frequency: str | None, cron: str | None, time_zone: str | None = None) -> str:
    """When a view is refreshed, in words."""
    if frequency is None:
        return MISSING
    if frequency == SyncFrequency.NEVER:
        return "only when asked for"
    return f"at {cron}{f' {time_zone}' if time_zone else ''}" if cron else f"every {_interval(frequency)}"


def _interval(frequency: str) -> str:
    """A frequency as words, such as `24 hours` for `24hour`."""
    count = "".join(one for one in frequency if one.isdigit())
    unit = {"min": "minute"}.get(frequency.removeprefix(count), frequency.removeprefix(count))
    return unit if count == "1" else f"{count} {unit}s"
