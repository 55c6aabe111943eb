"""`warehouse_tables`: files that views may read."""

from uuid import UUID

from fastapi import APIRouter, Request

from api.auth import TableReader, TableWriter
from api.pagination import AskedPage, Page, page_of
from api.schemas import AddTable, TableOut, table_out

router = APIRouter(prefix="/api/projects/{project_id}/warehouse_tables", tags=["warehouse_tables"])


@router.get("/")
async def list_tables(request: Request, caller: TableReader, asked: AskedPage) -> Page[TableOut]:
    """List the source tables, newest first."""
    count, tables = await caller.library.tables(
        caller.project_id, search=asked.search, limit=asked.page_size, offset=asked.offset
    )
    return page_of(request, asked, count, [table_out(table) for table in tables])


@router.post("/", status_code=201)
async def create_table(body: AddTable, caller: TableWriter) -> TableOut:
    """Register files as a source table. Its columns are read from them."""
    table = await caller.library.add_table(
        caller.project_id,
        name=body.name,
        source_format=body.format,
        url_pattern=body.url_pattern,
        user=caller.user,
    )
    return table_out(table)


@router.get("/{table_id}/")
async def retrieve_table(table_id: UUID, caller: TableReader) -> TableOut:
    """Show a source table."""
    return table_out(await caller.library.get_table(caller.project_id, table_id))


@router.delete("/{table_id}/", status_code=204)
async def delete_table(table_id: UUID, caller: TableWriter) -> None:
    """Forget a source table that no view reads. Its files are not touched."""
    await caller.library.delete_table(caller.project_id, table_id)
