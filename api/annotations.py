"""`saved_query_column_annotations` and `warehouse_column_annotations`: descriptions, in PostHog's fields."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from api.auth import RequestContext, SourceReader, SourceWriter, ViewReader, ViewWriter
from api.bodies import JsonRoute
from api.page_links import link_with
from api.schemas import RequestModel, Timestamp
from orchestrator.model.annotation import LONGEST_DESCRIPTION, Annotation, Described
from orchestrator.model.errors import Invalid
from orchestrator.model.read_options import LONGEST_COLUMN_NAME

_PREFIX = "/api/projects/{project_id}"
views = APIRouter(
    prefix=f"{_PREFIX}/saved_query_column_annotations", tags=["saved_query_column_annotations"], route_class=JsonRoute
)
tables = APIRouter(
    prefix=f"{_PREFIX}/warehouse_column_annotations", tags=["warehouse_column_annotations"], route_class=JsonRoute
)

# A page has a megabyte of descriptions at the most.
_MOST_ON_PAGE = 250
_COLUMN = "The column that is described, in any case; empty: the view or table itself"
_DESCRIPTION = "What it means, as free text"

AnnotationId = Annotated[UUID, Path(description="The annotation")]
Limit = Annotated[int, Query(ge=1, le=10**9, description=f"Items on a page; no page has more than {_MOST_ON_PAGE}")]
Offset = Annotated[int, Query(ge=0, le=2**62, description="How many to pass over")]


class _Describe(RequestModel):
    column_name: str = Field(default="", max_length=LONGEST_COLUMN_NAME, description=_COLUMN, examples=["amount"])
    description: str = Field(min_length=1, max_length=LONGEST_DESCRIPTION, description=_DESCRIPTION)


class DescribeView(_Describe):
    """A description of a view or of one of its columns, in place of the one that it has."""

    saved_query: UUID = Field(description="The id of the view")


class DescribeTable(_Describe):
    """A description of a source table or of one of its columns, in place of the one that it has."""

    table: UUID = Field(description="The id of the source table")


class _Edit(RequestModel):
    column_name: str | None = Field(
        default=None, max_length=LONGEST_COLUMN_NAME, description="May be sent back; it cannot be changed"
    )
    description: str | None = Field(
        default=None, min_length=1, max_length=LONGEST_DESCRIPTION, description=_DESCRIPTION
    )


class EditViewAnnotation(_Edit):
    """The description to set in an annotation of a view."""

    saved_query: UUID | None = Field(default=None, description="May be sent back; it cannot be changed")


class EditTableAnnotation(_Edit):
    """The description to set in an annotation of a source table."""

    table: UUID | None = Field(default=None, description="May be sent back; it cannot be changed")


class _AnnotationOut(BaseModel):
    id: UUID = Field(description="The id of the annotation")
    column_name: str = Field(description="The column that is described; empty: the view or table itself")
    description: str = Field(description=_DESCRIPTION)
    source: str = Field(default="user_edited", description="Always user_edited: only people describe things here")
    exists: bool = Field(description="false: there is no such column now; the description comes back with the column")
    created_at: Timestamp = Field(description="When it was described first; for a view itself, when it was created")
    updated_at: Timestamp = Field(description="When the description was last changed; likewise")


class ViewAnnotation(_AnnotationOut):
    """A description of a view or of one of its columns."""

    saved_query: UUID = Field(description="The id of the view")


class TableAnnotation(_AnnotationOut):
    """A description of a source table or of one of its columns."""

    table: UUID = Field(description="The id of the source table")


class _Page(BaseModel):
    count: int = Field(description="How many there are on all pages")
    next: str | None = Field(description="The URL of the next page")
    previous: str | None = Field(description="The URL of the page before")


class ViewAnnotations(_Page):
    """Descriptions of views and their columns."""

    results: list[ViewAnnotation] = Field(description="The items of this page, by view and column")


class TableAnnotations(_Page):
    """Descriptions of source tables and their columns."""

    results: list[TableAnnotation] = Field(description="The items of this page, by table and column")


@views.get("/")
async def list_view_annotations(
    request: Request,
    context: ViewReader,
    saved_query_id: Annotated[UUID | None, Query(description="Only those of this view")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> ViewAnnotations:
    """List the descriptions of views and their columns."""
    page, found = await _page(request, context, Described.VIEW, saved_query_id, limit=limit, offset=offset)
    return ViewAnnotations(results=[_of_view(one) for one in found], **page)


@views.post("/", status_code=201, responses={200: {"model": ViewAnnotation, "description": "It was described before"}})
async def describe_view(body: DescribeView, context: ViewWriter, response: Response) -> ViewAnnotation:
    """Describe a view or one of its columns, in place of the description that it has."""
    return _of_view(await _put(context, Described.VIEW, body.saved_query, body, response))


@views.get("/{annotation_id}/")
async def retrieve_view_annotation(annotation_id: AnnotationId, context: ViewReader) -> ViewAnnotation:
    """Show a description of a view or of one of its columns."""
    return _of_view(await context.services.annotations.get(context.project_id, Described.VIEW, annotation_id))


@views.patch("/{annotation_id}/")
async def update_view_annotation(
    annotation_id: AnnotationId, body: EditViewAnnotation, context: ViewWriter
) -> ViewAnnotation:
    """Change a description of a view or of one of its columns."""
    return _of_view(await _edit(context, Described.VIEW, annotation_id, body, ("saved_query", body.saved_query)))


@views.delete("/{annotation_id}/", status_code=204)
async def delete_view_annotation(annotation_id: AnnotationId, context: ViewWriter) -> None:
    """Delete a description of a view or of one of its columns."""
    await context.services.annotations.remove(context.project_id, Described.VIEW, annotation_id, context.user)


@tables.get("/")
async def list_table_annotations(
    request: Request,
    context: SourceReader,
    table_id: Annotated[UUID | None, Query(description="Only those of this source table")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> TableAnnotations:
    """List the descriptions of source tables and their columns."""
    page, found = await _page(request, context, Described.TABLE, table_id, limit=limit, offset=offset)
    return TableAnnotations(results=[_of_table(one) for one in found], **page)


@tables.post(
    "/", status_code=201, responses={200: {"model": TableAnnotation, "description": "It was described before"}}
)
async def describe_table(body: DescribeTable, context: SourceWriter, response: Response) -> TableAnnotation:
    """Describe a source table or one of its columns, in place of the description that it has."""
    return _of_table(await _put(context, Described.TABLE, body.table, body, response))


@tables.get("/{annotation_id}/")
async def retrieve_table_annotation(annotation_id: AnnotationId, context: SourceReader) -> TableAnnotation:
    """Show a description of a source table or of one of its columns."""
    return _of_table(await context.services.annotations.get(context.project_id, Described.TABLE, annotation_id))


@tables.patch("/{annotation_id}/")
async def update_table_annotation(
    annotation_id: AnnotationId, body: EditTableAnnotation, context: SourceWriter
) -> TableAnnotation:
    """Change a description of a source table or of one of its columns."""
    return _of_table(await _edit(context, Described.TABLE, annotation_id, body, ("table", body.table)))


@tables.delete("/{annotation_id}/", status_code=204)
async def delete_table_annotation(annotation_id: AnnotationId, context: SourceWriter) -> None:
    """Delete a description of a source table or of one of its columns."""
    await context.services.annotations.remove(context.project_id, Described.TABLE, annotation_id, context.user)


async def _page(
    request: Request, context: RequestContext, kind: Described, owner_id: UUID | None, *, limit: int, offset: int
) -> tuple[dict[str, Any], Sequence[Annotation]]:
    shown = min(limit, _MOST_ON_PAGE)
    count, found = await context.services.annotations.page(
        context.project_id, kind, owner_id=owner_id, limit=shown, offset=offset
    )
    before = max(0, offset - shown)
    following = {"limit": shown, "offset": offset + shown}
    page = {
        "count": count,
        "next": link_with(request, following) if offset + shown < count else None,
        "previous": link_with(request, {"limit": shown, "offset": before}) if offset else None,
    }
    return page, found


async def _put(
    context: RequestContext, kind: Described, owner_id: UUID, body: _Describe, response: Response
) -> Annotation:
    note, is_new = await context.services.annotations.put(
        context.project_id, kind, owner_id, column=body.column_name, description=body.description, user=context.user
    )
    response.status_code = 201 if is_new else 200
    return note


async def _edit(
    context: RequestContext, kind: Described, annotation_id: UUID, body: _Edit, owner: tuple[str, UUID | None]
) -> Annotation:
    note = await context.services.annotations.get(context.project_id, kind, annotation_id)
    field, sent = owner
    if sent not in {None, note.owner_id}:
        raise Invalid("An annotation stays with what it describes. Describe the other one instead.", attr=field)
    if body.column_name not in {None, note.column_name}:
        raise Invalid(
            "An annotation stays with the column that it describes. Describe the other one instead.", attr="column_name"
        )
    if body.description is None:
        return note
    return await context.services.annotations.change(
        context.project_id, kind, annotation_id, body.description, context.user
    )


def _of_view(note: Annotation) -> ViewAnnotation:
    return ViewAnnotation(saved_query=note.owner_id, **note.model_dump(exclude={"owner_id"}))


def _of_table(note: Annotation) -> TableAnnotation:
    return TableAnnotation(table=note.owner_id, **note.model_dump(exclude={"owner_id"}))
