"""Generated tables come out of every format as plain DuckDB has them."""

import io
import json
import os
from collections.abc import AsyncIterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from orchestrator.engines.duckdb.reader import DuckDBReader
from orchestrator.engines.duckdb.sql.parquet_casts import decoded, literal
from orchestrator.model.reading import ResultFormat
from tests.engines.duckdb.values import in_utc
from tests.reading.test_types import read

EXAMPLES = int(os.environ.get("MATVIEW_FUZZ_EXAMPLES", "30"))

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
# For each type, the texts that DuckDB reads as its values.
KINDS: dict[str, st.SearchStrategy[str]] = {
    "BIGINT": st.integers(-(2**63), 2**63 - 1).map(str),
    "UINTEGER": st.integers(0, 2**32 - 1).map(str),
    "HUGEINT": st.integers(-(10**38) + 1, 10**38 - 1).map(str),
    "DECIMAL(20,7)": st.decimals(-(10**12), 10**12, places=7, allow_nan=False).map(str),
    "DOUBLE": st.floats(allow_nan=True, allow_infinity=True).map(str),
    "FLOAT": st.floats(width=32, allow_nan=False, allow_infinity=False).map(str),
    "VARCHAR": TEXT,
    "BOOLEAN": st.booleans().map(str),
    "DATE": st.dates().map(str),
    "TIMESTAMP": st.datetimes().map(str),
    "TIMESTAMP WITH TIME ZONE": st.datetimes().map(lambda moment: f"{moment}+00"),
    "TIME": st.times().map(str),
    "UUID": st.uuids().map(str),
    "INTERVAL": st.integers(-(10**9), 10**9).map(lambda n: f"{n} seconds"),
    "JSON": st.recursive(st.none() | st.integers() | TEXT, st.lists, max_leaves=4).map(json.dumps),
    "VARCHAR[]": st.lists(st.integers()).map(str),
    "STRUCT(a DOUBLE, b VARCHAR)": st.integers(-1000, 1000).map(lambda n: f"{{'a': {n}, 'b': x{n}}}"),
}


@st.composite
def tables(draw: st.DrawFn) -> str:
    """The SELECT of a table of a few columns and rows, with NULLs in it."""
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=6))
    rows = draw(st.lists(st.tuples(*(st.none() | KINDS[kind] for kind in kinds)), min_size=1, max_size=8))
    lines = (", ".join("NULL" if value is None else literal(value) for value in row) for row in rows)
    names = ", ".join(f"c{n}" for n in range(len(kinds)))
    casts = ", ".join(f"CAST(c{n} AS {kind}) AS c{n}" for n, kind in enumerate(kinds))
    return f"SELECT {casts} FROM (VALUES {', '.join(f'({line})' for line in lines)}) AS t({names})"


@pytest.fixture(scope="module")
async def reader(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DuckDBReader]:
    reader = DuckDBReader(source_roots=[], private=[], temp_dir=tmp_path_factory.mktemp("r"), queries=2, of_project=1)
    yield reader
    await reader.close()


def unsigned(rows: list[tuple[str | None, ...]]) -> list[list[str | None]]:
    """The rows with zeros that have no sign."""
    return [["0.0" if value == "-0.0" else value for value in row] for row in rows]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(sql=tables())
async def test_a_generated_table_is_the_same_in_every_format(reader: DuckDBReader, sql: str) -> None:
    found = {one: await read(reader, sql, one) for one in ResultFormat}
    arrow = pa.ipc.open_stream(found[ResultFormat.ARROW][0]).read_all()
    parquet = pq.read_table(io.BytesIO(found[ResultFormat.PARQUET][0]))
    columns = [(c.name, c.duckdb_type, "as stored") for c in found[ResultFormat.ARROW][1].columns]
    with in_utc() as connection:
        wanted = connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM ({sql})").fetchall()
        for table in (arrow, parquet):
            connection.register("found", table)
            same = connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM ({decoded('FROM found', columns)})").fetchall()
            # DuckDB 1.5.5 writes 0.0 and -0.0 of a Parquet column as one entry of its dictionary.
            assert same == wanted or (table is parquet and unsigned(same) == unsigned(wanted))
    lines = found[ResultFormat.NDJSON][0].splitlines()
    rows = json.loads(b"[" + found[ResultFormat.JSON][0] + b"]")
    assert [[*json.loads(line).values()] for line in lines] == rows
    assert len(rows) == len(wanted) == found[ResultFormat.CSV][1].rows
