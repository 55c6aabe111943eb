"""The route of the conditions of all views of a project. PostHog has none, so its clients do not use it."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from api.auth import ViewReader
from api.bodies import JsonRoute
from api.pagination import Page, PageParams, make_page
from api.schemas import Timestamp
from orchestrator.model.base import now
from orchestrator.model.condition import Condition, ViewCondition
from orchestrator.model.saved_query import SyncFrequency

router = APIRouter(prefix="/api/projects/{project_id}/status", tags=["status"], route_class=JsonRoute)


class FailingInput(BaseModel):
    """A materialized view that a view reads, and whose own newest run failed."""

    id: UUID = Field(description="The id of that view")
    name: str = Field(description="Its name")
    error: str = Field(description="The first line of its error, 300 characters at most")


class NewerInput(BaseModel):
    """A materialized view that a view reads, with a version that the view's result was not made from."""

    id: UUID = Field(description="The id of that view")
    name: str = Field(description="Its name")


class ConditionOut(BaseModel):
    """The condition of a view."""

    id: UUID = Field(description="The id of the view")
    name: str = Field(description="The name of the view")
    condition: Condition = Field(description="Its condition in one word: the first of these words that holds")
    ok: bool = Field(
        description="Whether nothing is to be done: its newest run did not fail, it is not stale, and it is not paused"
        " for its failures"
    )
    sync_frequency: SyncFrequency | None = Field(description="null: not materialized")
    last_run_at: Timestamp | None = Field(description="When its newest run ended, or began while it runs")
    latest_error: str | None = Field(description="The error of the newest run that ended; null once one succeeds")
    data_as_of: Timestamp | None = Field(description="The moment for which the result is known to be right")
    row_count: int | None = Field(description="Rows of the current snapshot")
    size_bytes: int | None = Field(description="Its size on disk, in bytes")
    next_run_at: Timestamp | None = Field(
        description="When its schedule starts it next; null: never, or Temporal could not be asked"
    )
    schedule_paused: bool | None = Field(
        description="Whether its schedule is paused, as Temporal lists it, which may be a moment late; null: it has"
        " none, or Temporal could not be asked"
    )
    paused_reason: str | None = Field(description="The note on the paused schedule")
    stale_reasons: list[str] = Field(description="Why its result is older than it should be; empty if it is not")
    failing_inputs: list[FailingInput] = Field(
        description="The materialized views that it reads, directly or through views that are not materialized, and"
        " whose own newest run failed"
    )
    newer_inputs: list[NewerInput] = Field(
        description="Those that have published a version since, which its result was not made from"
    )


@router.get("/")
async def list_conditions(request: Request, context: ViewReader, params: PageParams) -> Page[ConditionOut]:
    """Show what runs, fails, is paused or stale: the condition of each view, newest first."""
    count, found = await context.services.conditions.page(
        context.project_id,
        search=params.search,
        name=params.name,
        limit=params.page_size,
        offset=params.offset,
    )
    moment = now()
    return make_page(request, params, count, [_condition_out(one, moment) for one in found])


def _condition_out(found: ViewCondition, moment: datetime) -> ConditionOut:
    view, schedule = found.view, found.schedule
    snapshot = view.current_snapshot
    return ConditionOut(
        id=view.id,
        name=view.name,
        condition=found.condition(moment),
        ok=found.is_ok(moment),
        sync_frequency=view.sync_frequency,
        last_run_at=view.last_run_at,
        latest_error=view.latest_error,
        data_as_of=view.data_as_of,
        row_count=snapshot.rows if snapshot else None,
        size_bytes=snapshot.bytes if snapshot else None,
        next_run_at=schedule.next_run_at if schedule else None,
        schedule_paused=schedule.paused if schedule else None,
        paused_reason=schedule.reason if schedule else None,
        stale_reasons=found.stale_reasons(moment),
        failing_inputs=[
            FailingInput(id=one.id, name=one.name, error=one.error) for one in found.inputs if one.error is not None
        ],
        newer_inputs=[NewerInput(id=one.id, name=one.name) for one in found.inputs if one.is_newer],
    )
