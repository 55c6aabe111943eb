"""The checks of views and source tables, in PostHog's fields: it calls them data quality checks."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from api.auth import (
    CheckReader,
    CheckWriter,
    RequestContext,
    TableCheckReader,
    TableCheckWriter,
    ViewReader,
)
from api.bodies import JsonRoute
from api.pagination import Page, PageQuery, SnapshotPage, make_page
from api.schemas import RequestModel, Timestamp
from orchestrator.model.check import (
    CONFIGS,
    LONGEST_COLUMN_NAME,
    LONGEST_NAME,
    NAME_PATTERN,
    CheckFields,
    CheckStatus,
    CheckType,
    Severity,
    StoredResult,
    Subject,
    SubjectRef,
    checked_assertion,
)
from orchestrator.services.checks import ShownCheck

router = APIRouter(
    prefix="/api/projects/{project_id}/warehouse_saved_queries/{saved_query_id}/checks",
    tags=["warehouse_saved_queries"],
    route_class=JsonRoute,
)
tables = APIRouter(
    prefix="/api/projects/{project_id}/warehouse_tables/{table_id}/checks",
    tags=["warehouse_tables"],
    route_class=JsonRoute,
)

ViewId = Annotated[UUID, Path(description="The view")]
TableId = Annotated[UUID, Path(description="The source table")]
CheckId = Annotated[UUID, Path(description="The check")]
ResultId = Annotated[UUID, Path(description="A result of the check")]

LONGEST_TEXT = 4_000
MOST_TAGS = 50
Tag = Annotated[str, Field(min_length=1, max_length=128)]
_Name = Annotated[
    str | None,
    Field(
        max_length=LONGEST_NAME,
        pattern=NAME_PATTERN,
        description="A name, unique in the project; empty: none",
        examples=["amounts_are_there"],
    ),
]
_ColumnName = Annotated[str | None, Field(max_length=LONGEST_COLUMN_NAME, description="The column that it is about")]
_Config = Annotated[
    dict[str, Any] | None, Field(description="What it asserts beside that; see check_types/ for each type")
]
_Description = Annotated[str | None, Field(max_length=LONGEST_TEXT, description="Why it is there")]
_SeverityIn = Annotated[
    Severity | None,
    Field(description="error keeps a result from being published on which it fails; warn only shows it"),
]
_Enabled = Annotated[bool | None, Field(description="false: runs pass it over")]
_Tags = Annotated[list[Tag] | None, Field(max_length=MOST_TAGS, description="Words to group checks by")]
_Source = Annotated[
    str | None, Field(pattern="^(user|ai_generated)$", description="Who wrote it: user or ai_generated")
]
_Model = Annotated[str | None, Field(max_length=128, description="The model that wrote it")]
_Confidence = Annotated[float | None, Field(ge=0, le=1, description="How sure that model is")]
_Reasoning = Annotated[str | None, Field(max_length=LONGEST_TEXT, description="Why that model wrote it")]


class EditCheck(RequestModel):
    """The fields of a check to change."""

    name: _Name = None
    description: _Description = None
    column_name: _ColumnName = None
    check_type: CheckType | None = Field(default=None, description="What it asserts")
    config: _Config = None
    severity: _SeverityIn = None
    enabled: _Enabled = None
    tags: _Tags = None
    created_source: _Source = None
    ai_model: _Model = None
    confidence: _Confidence = None
    reasoning: _Reasoning = None


class AddCheck(EditCheck):
    """A check of a view or of a source table."""

    check_type: CheckType = Field(description="What it asserts", examples=["not_null"])


class CheckResultOut(BaseModel):
    """The finding of a check, once."""

    id: UUID = Field(description="The id of this result")
    status: CheckStatus = Field(description="passed, failed, or error: it could not be run, and counts as failed")
    severity: Severity = Field(description="The severity that it had then")
    failing_rows: int | None = Field(description="How many rows fail; of duplicates, how many values; null on an error")
    reason: str | None = Field(description="Why it could not be run, or what differs from the version before")
    sql: str | None = Field(description="Selects the failing rows; POST it to query/ to see those of now")
    has_rows: bool = Field(description="Some of the failing rows are kept; see …/runs/{id}/rows/")
    run_id: UUID | None = Field(description="The run that made it before publication")
    generation_id: UUID | None = Field(description="The refresh that made it of a source table; without both, a person")
    snapshot_id: UUID | None = Field(description="The version that was checked")
    created_at: Timestamp = Field(description="When")


class CheckOut(BaseModel):
    """A check of a view or of a source table."""

    id: UUID = Field(description="The id of the check")
    name: str | None = Field(description="Its name")
    description: str = Field(description="Why it is there")
    column_name: str = Field(description="The column that it is about; empty: none, or those of its config")
    check_type: CheckType = Field(description="What it asserts")
    config: dict[str, Any] = Field(description="What it asserts beside that")
    severity: Severity = Field(description="error keeps a result from being published; warn only shows it")
    enabled: bool = Field(description="Whether runs make it")
    tags: list[str] = Field(description="Words to group checks by")
    created_source: str = Field(description="Who wrote it: user or ai_generated")
    ai_model: str = Field(description="The model that wrote it")
    confidence: float | None = Field(description="How sure that model was")
    reasoning: str = Field(description="Why that model wrote it")
    created_at: Timestamp = Field(description="When it was added")
    updated_at: Timestamp = Field(description="When it was last changed")
    latest_run: CheckResultOut | None = Field(description="Its newest result")


class CheckTypeOut(BaseModel):
    """A type of checks."""

    check_type: CheckType = Field(description="Its name")
    description: str = Field(description="What it asserts")
    config_schema: dict[str, Any] = Field(description="The JSON schema of its config")


class FailingColumn(BaseModel):
    """A column of failing rows."""

    name: str = Field(description="Its name")
    type: str = Field(description="DuckDB's type of it")


class FailingRows(BaseModel):
    """Some of the rows that a check has failed on."""

    columns: list[FailingColumn] = Field(description="Their columns")
    results: list[list[Any]] = Field(description="A hundred of them at the most")


@router.get("/")
async def list_checks(
    request: Request, saved_query_id: ViewId, context: CheckReader, params: SnapshotPage
) -> Page[CheckOut]:
    """List the checks of a view, each with its newest result."""
    return await _list(request, context, _view(context, saved_query_id), params)


@tables.get("/")
async def list_table_checks(
    request: Request, table_id: TableId, context: TableCheckReader, params: SnapshotPage
) -> Page[CheckOut]:
    """List the checks of a source table, each with its newest result."""
    return await _list(request, context, _table(context, table_id), params)


@router.post("/", status_code=201, responses={200: {"model": CheckOut, "description": "The view had such a check"}})
async def create_check(saved_query_id: ViewId, body: AddCheck, context: CheckWriter, response: Response) -> CheckOut:
    """Add a check to a view. Its next runs make it on their result, before readers see that."""
    return await _create(context, _view(context, saved_query_id), body, response)


@tables.post("/", status_code=201, responses={200: {"model": CheckOut, "description": "The table had such a check"}})
async def create_table_check(
    table_id: TableId, body: AddCheck, context: TableCheckWriter, response: Response
) -> CheckOut:
    """Add a check to a source table. It is made once a refresh, before any view that reads the table."""
    return await _create(context, _table(context, table_id), body, response)


@router.get("/check_types/")
async def list_check_types(saved_query_id: ViewId, context: ViewReader) -> list[CheckTypeOut]:
    """List the types of checks, each with the JSON schema of its config. They are the same for every view."""
    await context.services.definitions.get(context.project_id, saved_query_id)
    return [
        CheckTypeOut(check_type=one, description=config.__doc__ or "", config_schema=config.model_json_schema())
        for one, config in CONFIGS.items()
    ]


@router.get("/{check_id}/")
async def retrieve_check(saved_query_id: ViewId, check_id: CheckId, context: CheckReader) -> CheckOut:
    """Show a check of a view with its newest result."""
    return _check_out(await context.services.checks.get(_view(context, saved_query_id), check_id))


@tables.get("/{check_id}/")
async def retrieve_table_check(table_id: TableId, check_id: CheckId, context: TableCheckReader) -> CheckOut:
    """Show a check of a source table with its newest result."""
    return _check_out(await context.services.checks.get(_table(context, table_id), check_id))


@router.patch("/{check_id}/")
async def update_check(saved_query_id: ViewId, check_id: CheckId, body: EditCheck, context: CheckWriter) -> CheckOut:
    """Change a check. Its results stay."""
    return await _change(context, _view(context, saved_query_id), check_id, body)


@tables.patch("/{check_id}/")
async def update_table_check(
    table_id: TableId, check_id: CheckId, body: EditCheck, context: TableCheckWriter
) -> CheckOut:
    """Change a check of a source table. Its results stay."""
    return await _change(context, _table(context, table_id), check_id, body)


@router.delete("/{check_id}/", status_code=204)
async def delete_check(saved_query_id: ViewId, check_id: CheckId, context: CheckWriter) -> None:
    """Delete a check."""
    await context.services.checks.delete(_view(context, saved_query_id), check_id, context.user)


@tables.delete("/{check_id}/", status_code=204)
async def delete_table_check(table_id: TableId, check_id: CheckId, context: TableCheckWriter) -> None:
    """Delete a check of a source table."""
    await context.services.checks.delete(_table(context, table_id), check_id, context.user)


@router.post("/{check_id}/run/", status_code=201)
async def run_check(saved_query_id: ViewId, check_id: CheckId, context: CheckWriter) -> CheckResultOut:
    """Make a check on what readers see now. The answer comes when it is done."""
    return _result_out(await context.services.checks.run(_view(context, saved_query_id), check_id))


@tables.post("/{check_id}/run/", status_code=201)
async def run_table_check(table_id: TableId, check_id: CheckId, context: TableCheckWriter) -> CheckResultOut:
    """Make a check on the files of a source table as they are now. The answer comes when it is done."""
    return _result_out(await context.services.checks.run(_table(context, table_id), check_id))


@router.get("/{check_id}/runs/")
async def list_check_results(
    request: Request, saved_query_id: ViewId, check_id: CheckId, context: CheckReader, params: SnapshotPage
) -> Page[CheckResultOut]:
    """List the results of a check, newest first. The last hundred are kept."""
    return await _list_results(request, context, _view(context, saved_query_id), check_id, params)


@tables.get("/{check_id}/runs/")
async def list_table_check_results(
    request: Request, table_id: TableId, check_id: CheckId, context: TableCheckReader, params: SnapshotPage
) -> Page[CheckResultOut]:
    """List the results of a check of a source table, newest first. The last hundred are kept."""
    return await _list_results(request, context, _table(context, table_id), check_id, params)


@router.get("/{check_id}/runs/{result_id}/rows/")
async def list_failing_rows(
    saved_query_id: ViewId, check_id: CheckId, result_id: ResultId, context: CheckReader
) -> FailingRows:
    """Show some of the rows that a check has failed on in a run, as they were then."""
    found = await context.services.checks.sample(_view(context, saved_query_id), check_id, result_id)
    return FailingRows(
        columns=[FailingColumn(name=name, type=kind) for name, kind in found.columns],
        results=[list(row) for row in found.rows],
    )


def _view(context: RequestContext, view_id: UUID) -> SubjectRef:
    return SubjectRef(context.project_id, Subject.VIEW, view_id)


def _table(context: RequestContext, table_id: UUID) -> SubjectRef:
    return SubjectRef(context.project_id, Subject.TABLE, table_id)


async def _list(request: Request, context: RequestContext, of: SubjectRef, params: PageQuery) -> Page[CheckOut]:
    count, found = await context.services.checks.page(of, limit=params.page_size, offset=params.offset)
    return make_page(request, params, count, [_check_out(one) for one in found])


async def _create(context: RequestContext, of: SubjectRef, body: AddCheck, response: Response) -> CheckOut:
    fields = CheckFields(
        name=body.name or None,
        description=body.description or "",
        assertion=checked_assertion(body.check_type, body.column_name or "", body.config or {}),
        severity=body.severity or Severity.ERROR,
        enabled=body.enabled is not False,
        tags=tuple(body.tags or ()),
        created_source=body.created_source or "user",
        ai_model=body.ai_model or "",
        confidence=body.confidence,
        reasoning=body.reasoning or "",
    )
    made, is_new = await context.services.checks.create(of, fields, context.user)
    response.status_code = 201 if is_new else 200
    return _check_out(made)


async def _change(context: RequestContext, of: SubjectRef, check_id: UUID, body: EditCheck) -> CheckOut:
    sent = body.model_dump(exclude_unset=True)
    changes = {name: value for name, value in sent.items() if name in _PLAIN and value is not None}
    if "name" in sent:
        changes["name"] = sent["name"] or None
    if "confidence" in sent:
        changes["confidence"] = sent["confidence"]
    if "tags" in changes:
        changes["tags"] = tuple(changes["tags"])

    def changed(before: CheckFields) -> CheckFields:
        asserted = before.assertion
        check_type = sent.get("check_type") or asserted.check_type
        config = sent.get("config")
        if config is None:
            config = dict(asserted.config) if check_type == asserted.check_type else {}
        column = sent["column_name"] if sent.get("column_name") is not None else asserted.column_name
        assertion = checked_assertion(check_type, column, config)
        return before.model_copy(update={**changes, "assertion": assertion})

    return _check_out(await context.services.checks.change(of, check_id, changed, context.user))


async def _list_results(
    request: Request, context: RequestContext, of: SubjectRef, check_id: UUID, params: PageQuery
) -> Page[CheckResultOut]:
    count, found = await context.services.checks.results(of, check_id, limit=params.page_size, offset=params.offset)
    return make_page(request, params, count, [_result_out(one) for one in found])


_PLAIN = ("description", "severity", "enabled", "tags", "created_source", "ai_model", "reasoning")


def _check_out(shown: ShownCheck) -> CheckOut:
    check, newest = shown
    return CheckOut(
        **check.model_dump(include=set(CheckOut.model_fields)),
        column_name=check.assertion.column_name,
        check_type=check.assertion.check_type,
        config=dict(check.assertion.config),
        latest_run=None if newest is None else _result_out(newest),
    )


def _result_out(result: StoredResult) -> CheckResultOut:
    return CheckResultOut(
        **result.model_dump(include=set(CheckResultOut.model_fields)), has_rows=result.sample is not None
    )
