"""The graph of a project, also by column. PostHog has no such route, so its clients do not use it."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from api.auth import ViewReader
from api.bodies import JsonRoute
from api.schemas import Timestamp
from orchestrator.model.column_lineage import ColumnRef, QueryLineage, Sources
from orchestrator.model.generation import Direction
from orchestrator.model.lineage import GraphNode
from orchestrator.model.names import MAX_LENGTH
from orchestrator.model.saved_query import ViewStatus
from orchestrator.services.lineage import ProjectLineage

router = APIRouter(prefix="/api/projects/{project_id}/lineage", tags=["lineage"], route_class=JsonRoute)


class ColumnRefOut(BaseModel):
    """A column of a view or source table, or its rows."""

    node: str = Field(description="The name of the view or source table")
    column: str | None = Field(description="The name of the column; null: its rows, as in a count of them")


class Traced(BaseModel):
    """Whether a lineage is known."""

    complete: bool = Field(description="Whether these are all; if not, the others are not known")
    reason: str | None = Field(description="Why they are not all; null if they are")


class ColumnLineageOut(Traced):
    """The columns that a column is computed from."""

    model_config = ConfigDict(populate_by_name=True)

    column: str = Field(description="The name of the column")
    sources: list[ColumnRefOut] = Field(alias="from", description="The columns that its values are computed from")
    also_depends_on: list[ColumnRefOut] = Field(
        description="Others that decide its values, and not the rows of the view: what a window, an aggregate or a "
        "subquery of the column chooses and orders its rows by"
    )


class RowLineageOut(Traced):
    """The columns that decide which rows a view has."""

    depends_on: list[ColumnRefOut] = Field(
        description="What the query filters, joins, groups and orders by, and whose rows it reads"
    )


class LineageNodeOut(BaseModel):
    """A view or a source table."""

    id: UUID = Field(description="The id of the view or source table")
    name: str = Field(description="The name of the view or source table")
    kind: Literal["view", "table"] = Field(description="Which of the two it is")
    is_materialized: bool = Field(description="Whether it has a schedule; false for a source table")
    status: ViewStatus | None = Field(description="The status of the view, as the view itself shows it")
    data_as_of: Timestamp | None = Field(description="The moment for which the view's result is known to be right")
    columns: list[ColumnLineageOut] | None = Field(
        description="What each column of the view is computed from; null unless asked for, and for a source table"
    )
    rows: RowLineageOut | None = Field(
        description="What decides which rows the view has; null unless asked for, and for a source table"
    )


class LineageEdgeOut(BaseModel):
    """A view that reads a view or a source table."""

    model_config = ConfigDict(populate_by_name=True)

    source: UUID = Field(alias="from", description="The id of the node that is read")
    reader: UUID = Field(alias="to", description="The id of the view that reads it")


class LineageOut(BaseModel):
    """A graph of views and source tables."""

    nodes: list[LineageNodeOut] = Field(description="Its views and source tables, by name")
    edges: list[LineageEdgeOut] = Field(description="Which of its views read which of them")


@router.get("/")
async def project_lineage(
    context: ViewReader,
    view: Annotated[
        str | None,
        Query(max_length=MAX_LENGTH, description="Only what this view or table is connected with: name or id"),
    ] = None,
    direction: Annotated[
        Literal["upstream", "downstream", "both"],
        Query(description="With a view: what it reads, what reads it, or both"),
    ] = "both",
    columns: Annotated[bool, Query(description="Also what each column is computed from")] = False,
    to_tables: Annotated[
        bool, Query(description="With columns: go through all views down to source tables, not one step")
    ] = False,
) -> LineageOut:
    """Show the graph of the project's views and source tables, or the part of it around one of them.

    With `columns`, also what the columns of its views are computed from, as their queries are now.
    """
    found = await context.services.lineage.graph(
        context.project_id,
        start=None if view is None else _start(view),
        direction=Direction(direction),
        columns=columns or to_tables,
        to_tables=to_tables,
    )
    return _lineage_out(found)


def _start(view: str) -> UUID | str:
    try:
        return UUID(view) if "-" in view else view  # no name contains one
    except ValueError:
        return view


def _lineage_out(found: ProjectLineage) -> LineageOut:
    return LineageOut(
        nodes=[_node_out(node, (found.columns or {}).get(node.id)) for node in found.nodes],
        edges=[LineageEdgeOut(source=read, reader=reader) for read, reader in found.edges],
    )


def _node_out(node: GraphNode, lineage: QueryLineage | None) -> LineageNodeOut:
    return LineageNodeOut(
        id=node.id,
        name=node.name,
        kind="view" if node.is_view else "table",
        is_materialized=node.is_materialized,
        status=node.status,
        data_as_of=node.data_as_of,
        columns=None if lineage is None else [_column_out(name, one) for name, one in lineage.columns],
        rows=None if lineage is None else _rows_out(lineage.rows),
    )


def _column_out(name: str, found: Sources) -> ColumnLineageOut:
    return ColumnLineageOut(
        column=name,
        sources=_refs_out(found.sources),
        also_depends_on=_refs_out(found.also),
        complete=found.reason is None,
        reason=found.reason,
    )


def _rows_out(found: Sources) -> RowLineageOut:
    return RowLineageOut(depends_on=_refs_out(found.all), complete=found.reason is None, reason=found.reason)


def _refs_out(refs: frozenset[ColumnRef]) -> list[ColumnRefOut]:
    ordered = sorted(refs, key=lambda ref: (ref.node, ref.column is not None, ref.column or ""))
    return [ColumnRefOut(node=ref.node, column=ref.column) for ref in ordered]
