"""Refreshes: the generations of a project, and one of them as bars over time."""

from datetime import datetime
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Query, Response

from api.console.rendering import page_url
from api.console.routes import PageRoute
from api.console.visitors import AskedPage
from orchestrator.model.base import now
from orchestrator.model.generation import GenerationStatus

router = APIRouter(prefix="/projects/{project_id}/refreshes", route_class=PageRoute, include_in_schema=False)

_ON_A_PAGE = 50
_WIDTH = 1000.0
_SHORTEST = 2.0
_MOST_NAMES = 3


@router.get("")
async def list_refreshes(
    page: AskedPage,
    number: Annotated[int, Query(ge=1, le=10**9, alias="page")] = 1,
    status: GenerationStatus | None = None,
) -> Response:
    """The generations, newest first."""
    found = await page.api.get("/generations/", page=number, page_size=_ON_A_PAGE, status=status)
    async with page.shares.turn(("project", page.project_id)):
        board = await page.services.view_board.board(page.project_id)
    names = {str(row.id): row.name for row in board.rows}
    here = f"{page.base}/refreshes"
    return page.render(
        "refreshes.html",
        refreshes=[{**one, "what": _what(one, names), "seconds": _seconds(one)} for one in found["results"]],
        statuses=list(GenerationStatus),
        chosen=status,
        count=found["count"],
        before=page_url(here, page=number - 1, status=status) if number > 1 else None,
        after=page_url(here, page=number + 1, status=status) if found["next"] else None,
    )


@router.get("/{generation_id}")
async def one_refresh(page: AskedPage, generation_id: UUID) -> Response:
    """A generation with its views: which waited for which, which were skipped, which took long."""
    found = await page.api.get(f"/generations/{generation_id}/")
    lines, seconds = _lines(found)
    return page.render(
        "refresh.html", refresh=found, lines=lines, seconds=seconds, ticks=[n * _WIDTH / 4 for n in range(5)]
    )


class Line(NamedTuple):
    """A view of a generation: what it waited for, and its bars on a scale of a thousand from start to end.

    `ready` is when all that it waits for was written, `end` when it was written itself, or ended. Between `end` and the
    publication of all of its component it waits again.
    """

    id: str
    name: str
    status: str
    phase: str | None
    waits_for: list[str]
    ready: float
    end: float
    published: float
    seconds: float
    error: str | None
    note: str | None


def _lines(found: dict[str, Any]) -> tuple[list[Line], float]:
    """The views in the order in which they could begin, and how many seconds the whole took so far."""
    began = _moment(found["started_at"]) or _moment(found["created_at"]) or now()
    ended = _moment(found["finished_at"]) or now()
    whole = max((ended - began).total_seconds(), 0.001)
    members = {one["id"]: one for one in found["views"]}
    written = {key: _written(one, ended) for key, one in members.items()}

    def place(at: datetime) -> float:
        return min(_WIDTH, max(0.0, (at - began).total_seconds() / whole * _WIDTH))

    lines = []
    for key, one in members.items():
        parents = [parent for parent in one["parents"] if parent in members]
        ready = max([began, *(written[parent] for parent in parents)])
        end = max(written[key], ready)
        run = one["run"]
        lines.append(
            Line(
                id=key,
                name=one["name"],
                status=run["status"],
                phase=one["phase"],
                waits_for=sorted(members[parent]["name"] for parent in parents),
                ready=place(ready),
                end=max(place(end), min(_WIDTH, place(ready) + _SHORTEST)),
                published=place(_moment(run["finished_at"]) or ended),
                seconds=(end - ready).total_seconds(),
                error=run["error"],
                note=run["skipped_reason"],
            )
        )
    return sorted(lines, key=lambda line: (line.ready, line.end, line.name)), whole


def _written(member: dict[str, Any], ended: datetime) -> datetime:
    """When the rows of a member were there for others, or when it ended without rows."""
    return _moment(member["written_at"]) or _moment(member["run"]["finished_at"]) or ended


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _seconds(generation: dict[str, Any]) -> float | None:
    began, ended = _moment(generation["started_at"]), _moment(generation["finished_at"])
    return None if began is None or ended is None else (ended - began).total_seconds()


def _what(generation: dict[str, Any], names: dict[str, str]) -> str:
    select = generation["select"]
    if select["all"]:
        return "all materialized views"
    asked = [names.get(one, "a deleted view") for one in select["views"]]
    more = f" and {len(asked) - _MOST_NAMES} more" if len(asked) > _MOST_NAMES else ""
    related = "" if select["direction"] == "none" else f", {select['direction']}"
    return f"{', '.join(asked[:_MOST_NAMES])}{more}{related}"
