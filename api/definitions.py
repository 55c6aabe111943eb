"""`definitions`: all views and source tables of a project at once, planned and changed as a whole."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.auth import ProjectReader, ProjectWriter, ViewWriter
from api.bodies import JsonRoute
from api.check_definitions import CheckDefinitionOut, CheckIn, PlannedCheckOut
from api.errors import PositionOut
from api.schemas import CRON, FRESHNESS, LONGEST_DESCRIPTION, MAX_STALENESS, TIME_ZONE, Frequency, RequestModel
from api.source_tables import stated_columns
from api.table_schemas import AddTable, ColumnChangesOut, ReadingOut
from orchestrator.model.annotation import LONGEST_DESCRIPTION as LONGEST_NOTE
from orchestrator.model.change_plan import Action, ChangePlan, Kind
from orchestrator.model.check import MOST_OF_SUBJECT
from orchestrator.model.check_definition import CheckDefinition
from orchestrator.model.cron import MOST_CRON_CHARACTERS
from orchestrator.model.definitions import Change, Definitions, TableDefinition, ViewDefinition
from orchestrator.model.errors import Invalid
from orchestrator.model.freshness import Freshness
from orchestrator.model.names import MAX_LENGTH
from orchestrator.model.read_options import LONGEST_COLUMN_NAME, format_of, shown
from orchestrator.model.saved_query import SyncFrequency
from orchestrator.model.source_table import SourceFormat
from orchestrator.model.time_zones import MOST_ZONE_CHARACTERS
from orchestrator.services.timings import TimingUpdate, new_timing, timing_fields

router = APIRouter(prefix="/api/projects/{project_id}", tags=["definitions"], route_class=JsonRoute)

_MOST_VIEWS, _MOST_TABLES = 10_000, 2_000
_MOST_DESCRIBED_COLUMNS = 4_096
_CHECKS = "Its checks; those that it has beside them go"
_DESCRIPTIONS = "What columns mean, by their names; also of columns that it does not have at the moment"
# More than a view may have, so that the plan can say so.
_MOST_CHECKS = 10 * MOST_OF_SUBJECT
_Description = Annotated[str, Field(min_length=1, max_length=LONGEST_NOTE)]
_ColumnName = Annotated[str, Field(min_length=1, max_length=LONGEST_COLUMN_NAME)]
ColumnDescriptions = Annotated[dict[_ColumnName, _Description], Field(max_length=_MOST_DESCRIBED_COLUMNS)]
_Name = Annotated[str, Field(max_length=MAX_LENGTH)]


class ViewIn(RequestModel):
    """A view as it is to be. A field that is left out gets its default."""

    name: str = Field(description="Unique among the project's views and tables", examples=["events_by_day"])
    query: dict[str, Any] = Field(
        description="An object that holds one SELECT statement in DuckDB's dialect",
        examples=[{"kind": "SQLQuery", "query": "SELECT 1 AS one"}],
    )
    description: str | None = Field(default=None, max_length=LONGEST_DESCRIPTION, description="Free text")
    sync_frequency: Frequency = Field(
        default=None, description="How often to refresh; null: not materialized, never: only when asked for"
    )
    cron: str | None = Field(default=None, max_length=MOST_CRON_CHARACTERS, description=CRON, examples=["0 6 * * 1-5"])
    time_zone: str | None = Field(default=None, max_length=MOST_ZONE_CHARACTERS, description=TIME_ZONE)
    freshness: Freshness = Field(default=Freshness.CLOCK, description=FRESHNESS)
    max_staleness: Frequency = Field(default=None, description=MAX_STALENESS)
    column_descriptions: ColumnDescriptions = Field(default={}, description=_DESCRIPTIONS)
    checks: list[CheckIn] = Field(default=[], fail_fast=True, max_length=_MOST_CHECKS, description=_CHECKS)

    def definition(self) -> ViewDefinition:
        """The view that this asks for. Raises Invalid for a timing that cannot be."""
        asked = self.model_dump(include={"sync_frequency", "cron", "time_zone"}, exclude_none=True)
        try:
            timing = new_timing(TimingUpdate(**asked))
        except Invalid as error:
            raise Invalid(f"{self.name}: {error.message}", attr=error.attr) from None
        values = self.model_dump(exclude={"sync_frequency", "cron", "time_zone"})
        return ViewDefinition.model_validate({**values, "timing": timing})


class TableIn(AddTable):
    """A source table as it is to be. A field that is left out gets its default; a credential is ignored."""

    description: _Description | None = Field(default=None, description="What the table means")
    column_descriptions: ColumnDescriptions = Field(default={}, description=_DESCRIPTIONS)
    checks: list[CheckIn] = Field(default=[], fail_fast=True, max_length=_MOST_CHECKS, description=_CHECKS)

    def definition(self) -> TableDefinition:
        """The table that this asks for. Raises Invalid for columns that contradict themselves."""
        return TableDefinition(
            name=self.name,
            format=format_of(self.format, self.header),
            url_pattern=self.url_pattern,
            options=self.options(),
            stated=tuple(stated_columns(self.columns or [])),
            description=self.description or None,
            column_descriptions=self.column_descriptions,
            checks=tuple(CheckDefinition.model_validate(one.model_dump()) for one in self.checks),
        )


class DefinitionsIn(RequestModel):
    """Views and tables as they are to be, in any order. Those of the project that are not named stay as they are."""

    views: list[ViewIn] = Field(default=[], fail_fast=True, max_length=_MOST_VIEWS, description="Views")
    tables: list[TableIn] = Field(default=[], fail_fast=True, max_length=_MOST_TABLES, description="Source tables")
    delete: list[_Name] = Field(
        default=[], fail_fast=True, max_length=_MOST_VIEWS, description="Names of views and tables to delete"
    )
    prune: bool = Field(
        default=False, description="Delete all views and tables that are not named in `views`, `tables`"
    )
    break_dependents: bool = Field(default=False, description="Also if views that are not named would stop binding")

    def change(self) -> Change:
        """The change of the project that this asks for. Raises Invalid for columns that contradict themselves."""
        views = tuple(one.definition() for one in self.views)
        tables = tuple(one.definition() for one in self.tables)
        return Change(
            definitions=Definitions(views=views, tables=tables),
            delete=tuple(self.delete),
            prune=self.prune,
            break_dependents=self.break_dependents,
        )


class ApplyIn(DefinitionsIn):
    """A change to make."""

    base: str | None = Field(
        default=None, max_length=200, description="That of a plan: refused if the project was changed since"
    )
    refresh: bool = Field(default=True, description="Refresh the views that the plan names, as one generation")


class PlannedChangeOut(BaseModel):
    """A view or table that changes."""

    kind: Kind = Field(description="What it is")
    name: str = Field(description="Its name")
    action: Action = Field(description="What becomes of it")
    fields: list[str] = Field(description="Which of its fields differ; all of a new one, none of a deleted one")
    columns: ColumnChangesOut = Field(description="How its columns change, once all that it reads is refreshed")
    text_only: bool = Field(description="Whether its query changes in spaces, comments or spelling only")
    before: str | None = Field(description="The statement of a view, if it changes")
    after: str | None = Field(description="The statement after the change")
    checks: list[PlannedCheckOut] = Field(description="Its checks that change")


class BrokenReaderOut(BaseModel):
    """A view that is not named and would stop binding."""

    name: str = Field(description="Its name")
    reads: list[str] = Field(description="What it reads that changes, or that reads what changes")
    message: str = Field(description="What DuckDB says of it")


class ProblemOut(BaseModel):
    """A reason for which the change cannot be made."""

    kind: Kind = Field(description="What it is about")
    name: str = Field(description="The name of the view or table")
    message: str = Field(description="What is wrong")
    position: PositionOut | None = Field(description="The place in the statement that is wrong, if known")
    check: int | None = Field(description="Which of its checks it is about, from 0; null: the view or table itself")


class PlannedRunOut(BaseModel):
    """A view that is refreshed after the change."""

    name: str = Field(description="Its name")
    level: int = Field(description="0: it reads no other of these views; 1: it reads some of level 0; and so on")
    reason: str = Field(description="Why it is refreshed")
    last_seconds: float | None = Field(description="How long its last completed run took, in seconds")


class PlanOut(BaseModel):
    """The plan of a change."""

    base: str = Field(description="Identifies the definitions that the plan was made from, for `apply`")
    changes: list[PlannedChangeOut] = Field(description="What changes: tables, views, and what is deleted")
    unchanged: int = Field(description="How many of the named views and tables are as they are to be")
    problems: list[ProblemOut] = Field(description="Why the change is refused; empty: it is not")
    broken: list[BrokenReaderOut] = Field(description="Views that would stop binding")
    runs: list[PlannedRunOut] = Field(description="The views to refresh, those first that read no other of them")


class AppliedOut(BaseModel):
    """A change that was made."""

    plan: PlanOut = Field(description="What it did")
    generation_id: UUID | None = Field(description="The refresh that was started; null: there is nothing to refresh")


class ViewDefinitionOut(BaseModel):
    """A view, as `apply` takes it."""

    name: str = Field(description="Its name")
    query: dict[str, Any] = Field(description="The object that holds its statement")
    description: str | None = Field(description="Free text")
    sync_frequency: SyncFrequency | None = Field(description="How often it is refreshed; null: not materialized")
    cron: str | None = Field(description=CRON)
    time_zone: str | None = Field(description=TIME_ZONE)
    freshness: Freshness = Field(description=FRESHNESS)
    max_staleness: SyncFrequency | None = Field(description=MAX_STALENESS)
    column_descriptions: dict[str, str] = Field(description=_DESCRIPTIONS)
    checks: list[CheckDefinitionOut] = Field(description="Its checks")


class StatedColumn(BaseModel):
    """A column whose type is stated."""

    name: str = Field(description="Its name")
    type: str = Field(description="Its type, as DuckDB writes it")


class TableDefinitionOut(ReadingOut):
    """A source table, as `apply` takes it."""

    name: str = Field(description="Its name")
    format: SourceFormat = Field(description="How its files are read")
    url_pattern: str = Field(description="Where its files are")
    columns: list[StatedColumn] = Field(description="The columns whose type is stated")
    description: str | None = Field(description="What the table means")
    column_descriptions: dict[str, str] = Field(description=_DESCRIPTIONS)
    checks: list[CheckDefinitionOut] = Field(description="Its checks")


class DefinitionsOut(BaseModel):
    """All views and source tables of a project, each sorted by name."""

    views: list[ViewDefinitionOut] = Field(description="The views")
    tables: list[TableDefinitionOut] = Field(description="The source tables")


class ViewChange(RequestModel):
    """A change of one view to plan: the fields that are sent."""

    name: str = Field(max_length=MAX_LENGTH, description="The name of the view, or of a new one")
    query: dict[str, Any] | None = Field(default=None, description="The object that holds the new statement")
    deleted: bool = Field(default=False, description="true: it is deleted")


@router.get("/definitions/")
async def get_definitions(context: ProjectReader) -> DefinitionsOut:
    """Show all that is defined in a project, in the form in which `apply` takes it."""
    found = await context.services.changes.definitions(context.project_id)
    return DefinitionsOut(
        views=[
            ViewDefinitionOut.model_validate({**one.model_dump(), **timing_fields(one.timing)}) for one in found.views
        ],
        tables=[
            TableDefinitionOut(
                name=one.name,
                format=one.format,
                url_pattern=one.url_pattern,
                columns=[StatedColumn(name=column.name, type=column.duckdb_type) for column in one.stated],
                description=one.description,
                column_descriptions=dict(one.column_descriptions),
                checks=[CheckDefinitionOut.model_validate(check.model_dump()) for check in one.checks],
                **shown(one.format, one.options),
            )
            for one in found.tables
        ],
    )


@router.post("/definitions/plan/")
async def plan_definitions(body: DefinitionsIn, context: ProjectWriter) -> PlanOut:
    """Show what a change of views and tables would do. Nothing is changed."""
    return _plan_out(await context.services.changes.plan(context.project_id, body.change()))


@router.post("/definitions/apply/")
async def apply_definitions(body: ApplyIn, context: ProjectWriter) -> AppliedOut:
    """Change views and tables as a whole: all of it or nothing."""
    applied = await context.services.changes.apply(
        context.project_id, body.change(), context.user, base=body.base, refresh=body.refresh
    )
    return AppliedOut(plan=_plan_out(applied.plan), generation_id=applied.generation_id)


@router.post("/warehouse_saved_queries/plan/")
async def plan_view(body: ViewChange, context: ViewWriter) -> PlanOut:
    """Show what a change of one view would do: its columns, who reads it, what would run. Nothing is changed."""
    plan = await context.services.changes.plan_view(
        context.project_id, body.name, query=body.query, deleted=body.deleted
    )
    return _plan_out(plan)


def _plan_out(plan: ChangePlan) -> PlanOut:
    shown = plan.model_dump()
    for problem, one in zip(shown["problems"], plan.problems, strict=True):
        problem["position"] = one.position.as_json() if one.position else None
    return PlanOut.model_validate(shown)
