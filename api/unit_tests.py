"""`definitions/test/`: unit tests of views, over the definitions of a project as a change would make them."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.auth import ProjectWriter
from api.bodies import JsonRoute
from api.definitions import DefinitionsIn
from api.schemas import RequestModel
from orchestrator.model.check import CheckStatus
from orchestrator.model.names import MAX_LENGTH
from orchestrator.model.read_options import LONGEST_COLUMN_NAME
from orchestrator.model.unit_test import UnitTest

router = APIRouter(prefix="/api/projects/{project_id}", tags=["definitions"], route_class=JsonRoute)

_MOST_TESTS, _MOST_INPUTS, _MOST_ROWS = 200, 100, 1000
LONGEST_NAME = 400
_ColumnName = Annotated[str, Field(max_length=LONGEST_COLUMN_NAME)]
_Row = Annotated[dict[_ColumnName, Any], Field(max_length=4096)]
_Rows = Annotated[list[_Row], Field(fail_fast=True, max_length=_MOST_ROWS)]
_InputName = Annotated[str, Field(max_length=MAX_LENGTH)]
_INPUTS = "The rows of each source table that it reads, and of views that are not to be computed, by name"


class UnitTestIn(RequestModel):
    """A unit test of a view. A column that a row does not name is NULL; texts are cast to the type of the column."""

    name: str = Field(min_length=1, max_length=LONGEST_NAME, description="What it shows", examples=["a_day_is_summed"])
    view: str = Field(min_length=1, max_length=MAX_LENGTH, description="The view", examples=["orders_by_day"])
    given: dict[_InputName, _Rows] = Field(default={}, max_length=_MOST_INPUTS, description=_INPUTS)
    expect: _Rows = Field(description="The rows that it returns, in any order. Columns that none names do not count")


class UnitTestsIn(DefinitionsIn):
    """Unit tests, and the change of the project after which they are to hold. Without a change: as the project is."""

    tests: list[UnitTestIn] = Field(fail_fast=True, max_length=_MOST_TESTS, description="The tests")


class UnitTestOut(BaseModel):
    """The result of a unit test."""

    name: str = Field(description="What it shows")
    view: str = Field(description="The view")
    status: CheckStatus = Field(description="error: it could not be run")
    reason: str | None = Field(description="Why it could not be run")
    columns: list[str] = Field(description="The columns that were compared")
    missing_rows: int = Field(description="How many rows were expected and not returned")
    missing: list[list[Any]] = Field(description="Some of them")
    unexpected_rows: int = Field(description="How many rows were returned and not expected")
    unexpected: list[list[Any]] = Field(description="Some of them")
    seconds: float = Field(description="How long it took, in seconds")


class UnitTestsOut(BaseModel):
    """The results of unit tests, in their order."""

    results: list[UnitTestOut] = Field(description="One for each test")


@router.post("/definitions/test/")
async def test_definitions(body: UnitTestsIn, context: ProjectWriter) -> UnitTestsOut:
    """Run unit tests of views on the rows that are given with them. Nothing is changed, and no data is read."""
    tests = [UnitTest.model_validate(one.model_dump()) for one in body.tests]
    found = await context.services.unit_tests.run(context.project_id, body.change(), tests)
    return UnitTestsOut(results=[UnitTestOut.model_validate(one.model_dump()) for one in found])
