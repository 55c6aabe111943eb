"""`warehouse_tables`: the source tables, files that views may read under a name."""

from collections.abc import Iterable, Iterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request

from api.auth import TableReader, TableWriter
from api.bodies import JsonRoute
from api.pagination import Page, PageParams, make_page
from api.serializers import stored_table_out, table_out, table_summary, wire_type
from api.table_schemas import AddTable, ColumnIn, EditTable, RefreshSchema, StoredTableOut, TableOut, TableSummary
from orchestrator.model.errors import Invalid
from orchestrator.model.snapshot import Column
from orchestrator.services.source_tables import SourceTableUpdate

router = APIRouter(
    prefix="/api/projects/{project_id}/warehouse_tables", tags=["warehouse_tables"], route_class=JsonRoute
)

_PLAIN = ("name", "format", "header", "url_pattern", "credential", "break_dependents")

TableId = Annotated[UUID, Path(description="The source table")]


@router.get("/")
async def list_tables(request: Request, context: TableReader, params: PageParams) -> Page[TableSummary]:
    """List the source tables, newest first."""
    count, tables = await context.services.source_tables.page(
        context.project_id,
        search=params.search,
        name=params.name,
        limit=params.page_size,
        offset=params.offset,
    )
    return make_page(request, params, count, [table_summary(table) for table in tables])


@router.post("/", status_code=201)
async def create_table(body: AddTable, context: TableWriter) -> StoredTableOut:
    """Register files as a source table. Its columns are read from them, but for types that are stated."""
    return stored_table_out(await context.services.source_tables.add(context.project_id, _edit_of(body), context.user))


@router.get("/{table_id}/")
async def retrieve_table(table_id: TableId, context: TableReader) -> TableOut:
    """Show a source table."""
    return table_out(await context.services.source_tables.get(context.project_id, table_id))


@router.put("/{table_id}/", name="replace_table")
@router.patch("/{table_id}/")
async def update_table(table_id: TableId, body: EditTable, context: TableWriter) -> StoredTableOut:
    """Change a source table. Its columns are read again unless only its name or credential changes."""
    return stored_table_out(await context.services.source_tables.edit(context.project_id, table_id, _edit_of(body)))


@router.post("/{table_id}/refresh_schema/")
async def refresh_schema(table_id: TableId, context: TableWriter, body: RefreshSchema | None = None) -> StoredTableOut:
    """Read the columns of a source table from its files again; says what changed, and which files differ."""
    may_break = body is not None and body.break_dependents
    table = await context.services.source_tables.refresh(context.project_id, table_id, break_dependents=may_break)
    return stored_table_out(table)


@router.delete("/{table_id}/", status_code=204)
async def delete_table(table_id: TableId, context: TableWriter) -> None:
    """Forget a source table that no view reads. Its files are not touched."""
    await context.services.source_tables.delete(context.project_id, table_id)


def _edit_of(body: AddTable | EditTable) -> SourceTableUpdate:
    plain = body.model_dump(include={*_PLAIN}, exclude_unset=True)
    if "columns" in body.model_fields_set:
        plain["stated"] = tuple(stated_columns(body.columns or []))
    return SourceTableUpdate(**plain, options=body.options())


def stated_columns(columns: Iterable[ColumnIn]) -> Iterator[Column]:
    """The columns whose type is stated. Raises Invalid for a column with two different types."""
    for column in columns:
        shown = column.duckdb_type
        if shown is not None and column.type not in {shown, wire_type(shown)}:
            raise Invalid(
                f'The column "{column.name}" is said to be {column.type} and {shown}; leave out its "duckdb_type".',
                attr="columns",
            )
        if column.stated:
            yield Column(name=column.name, duckdb_type=(shown or column.type).strip())
