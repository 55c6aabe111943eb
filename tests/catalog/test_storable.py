"""The last defence against text that PostgreSQL cannot store: every statement with it raises UnsupportedType."""

import pytest
from sqlalchemy import text

from orchestrator.catalog.database import Database
from orchestrator.model.errors import UnstorableText


@pytest.mark.parametrize("value", ["a\x00b", "a\ud800b"])
@pytest.mark.parametrize("statement", ["SELECT CAST(:value AS text)", "SELECT CAST(:value AS varchar) || 'x'"])
async def test_text_that_cannot_be_stored_is_reported_as_such(database: Database, statement: str, value: str) -> None:
    with pytest.raises(UnstorableText):
        async with database.begin() as tx:
            await tx.execute(text(statement), {"value": value})


@pytest.mark.parametrize("escape", ["\\u0000", "\\ud800", "\\udc00x"])
async def test_json_that_cannot_be_stored_is_reported_as_such(database: Database, escape: str) -> None:
    with pytest.raises(UnstorableText):
        async with database.begin() as tx:
            await tx.execute(text("SELECT CAST(:value AS jsonb)"), {"value": f'{{"a": "{escape}"}}'})


async def test_another_error_of_the_data_is_not_reported_so(database: Database) -> None:
    with pytest.raises(Exception, match="invalid input syntax"):
        async with database.begin() as tx:
            await tx.execute(text("SELECT CAST(:value AS integer)"), {"value": "x"})
