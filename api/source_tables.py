"""`warehouse_tables`: files that views may read."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request

from api.answers import table_out
from api.auth import TableReader, TableWriter
from api.bodies import JsonRoute
from api.pagination import AskedPage, Page, page_of
from api.schemas import AddTable, AnyObject, EditTable, TableOut
from orchestrator.sources import TableEdit

router = APIRouter(
    prefix="/api/projects/{project_id}/warehouse_tables", tags=["warehouse_tables"], route_class=JsonRoute
)

TableId = Annotated[UUID, Path(description="The source table")]


@router.get("/")
async def list_tables(request: Request, caller: TableReader, asked: AskedPage) -> Page[TableOut]:
    """List the source tables, newest first."""
    count, tables = await caller.sources.page(
        caller.project_id, search=asked.search, limit=asked.page_size, offset=asked.offset
    )
    return page_of(request, asked, count, [table_out(table) for table in tables])


@router.post("/", status_code=201)
async def create_table(body: AddTable, caller: TableWriter) -> TableOut:
    """Register files as a source table. Its columns are read from them."""
    draft = TableEdit(**body.model_dump(exclude_unset=True))
    return table_out(await caller.sources.add(caller.project_id, draft, caller.user))


@router.get("/{table_id}/")
async def retrieve_table(table_id: TableId, caller: TableReader) -> TableOut:
    """Show a source table."""
    return table_out(await caller.sources.get(caller.project_id, table_id))


@router.put("/{table_id}/", name="replace_table")
@router.patch("/{table_id}/")
async def update_table(table_id: TableId, body: EditTable, caller: TableWriter) -> TableOut:
    """Change a source table. Its columns are read anew."""
    edit = TableEdit(**body.model_dump(exclude_unset=True))
    return table_out(await caller.sources.edit(caller.project_id, table_id, edit))


@router.post("/{table_id}/refresh_schema/")
async def refresh_schema(table_id: TableId, caller: TableWriter, _: AnyObject = None) -> TableOut:
    """Read the columns of a source table from its files anew."""
    return table_out(await caller.sources.refresh(caller.project_id, table_id))


@router.delete("/{table_id}/", status_code=204)
async def delete_table(table_id: TableId, caller: TableWriter) -> None:
    """Forget a source table that no view reads. Its files are not touched."""
    await caller.sources.delete(caller.project_id, table_id)
