"""Copies of tables of databases."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from orchestrator.model.database_tables import SourceCopy, moment_of
from orchestrator.model.remote_files import name_of_source
from orchestrator.model.snapshot import SnapshotFile

FIRST = SourceCopy(
    id=uuid4(),
    project_id=1,
    source_table_id=UUID(int=1),
    url="postgresql://host/db/public.t",
    columns=(),
    location="1/t/run-1",
    file=SnapshotFile(name="rows.parquet", rows=2, bytes=500),
    content="duckdb-1.5.5:2:1:1",
    read_at=datetime(2026, 1, 1, 12, 0, 0, 123457, tzinfo=UTC),
)


def test_two_copies_of_the_same_rows_are_opened_under_two_names() -> None:
    """They may have the rows in another order, and a process remembers what it has read under a name."""
    second = FIRST.model_copy(update={"id": uuid4(), "read_at": FIRST.read_at + timedelta(microseconds=1)})
    one, other = FIRST.as_object(), second.as_object()
    assert (one.version, one.size, one.url) == (other.version, other.size, other.url)
    assert name_of_source(one) != name_of_source(other)


@pytest.mark.parametrize("year", [1970, 2026, 2261])
def test_a_copy_is_found_again_by_its_moment(year: int) -> None:
    copy = FIRST.model_copy(update={"read_at": FIRST.read_at.replace(year=year)})
    assert moment_of(copy.as_object()) == copy.read_at
