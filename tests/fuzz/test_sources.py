"""Random source files: each value is read as it is written, or the file is refused, and neither takes long."""

import csv
import io
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, strategies as st

from orchestrator.engines.duckdb.sources.bad_values import Source, explained
from orchestrator.engines.duckdb.sources.contract import Contract, UnreadableFile
from orchestrator.engines.duckdb.sources.discovery import SourceFile, find_source_files
from orchestrator.engines.duckdb.sources.scan import MISFIT, source_select
from orchestrator.engines.duckdb.sources.text import with_data
from orchestrator.engines.duckdb.types import plain_csv
from orchestrator.engines.duckdb.types.inference import source_columns
from orchestrator.engines.duckdb.types.plain_csv import plain_files
from orchestrator.model.errors import InvalidSource
from orchestrator.model.source_table import AS_USUAL
from tests.fuzz.support import bounded, long_enough

EXAMPLES = 100
# Far longer than a file of a few kilobytes may take.
SECONDS = 20.0

NUMBERS = st.one_of(
    st.integers().map(str),
    st.integers(-(2**130), 2**130).map(str),
    st.floats(allow_nan=True).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.from_regex(r"[-+ ]?0{0,2}[0-9]{0,20}\.?[0-9]{0,20}([eE][-+]?[0-9]{1,3})?", fullmatch=True),
    st.sampled_from(["", "-", ".", "1_000", "0x1F", "007", "-0", "inf", "NaN", "1e5", "1.5e-3", "٣"]),
)
MOMENTS = st.one_of(
    st.dates().map(str),
    st.datetimes().map(str),
    st.datetimes().map(lambda moment: moment.isoformat() + "+05:00"),
    st.times().map(str),
    st.from_regex(
        r"[0-9]{1,4}-[0-9]{1,2}-[0-9]{1,2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2})?)?"
    ),
)
WORDS = st.one_of(st.sampled_from(["true", "false", "TRUE", "t", "yes", "null", "NULL", "NA"]), st.text(max_size=12))
FIELDS = st.one_of(NUMBERS, MOMENTS, WORDS)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(FIELDS, min_size=width, max_size=width), min_size=1, max_size=12)
)
NAMES = st.text(min_size=1, max_size=8)
JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), FIELDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "é"]), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module", autouse=True)
def every_file_counts_as_large() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plain_csv, "WORTH_BYTES", 1)
        patched.setattr(plain_csv, "_BYTE_COST", 0)
        patched.setattr(plain_csv, "_CHUNK_BYTES", 100)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1, "memory_limit": "500MB"}) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


def read(
    connection: duckdb.DuckDBPyConnection, path: Path, form: str
) -> tuple[list[tuple[str, str]], list[Any]] | None:
    """The columns and rows of a file, each value as text; None if it is refused with an error that can be explained."""
    file = [SourceFile(str(path), str(path))]
    contract = Contract(form, (), frozenset(), AS_USUAL.model_dump(mode="json"))
    began = time.monotonic()
    try:
        if not with_data(file):
            return None
        columns = source_columns(connection, contract, file)
        return columns, _rows(connection, contract._replace(columns=columns), file)
    except (duckdb.InternalException, duckdb.FatalException):
        raise
    except (UnreadableFile, duckdb.Error) as error:
        if MISFIT in str(error):
            raise  # a type that was detected in a file must fit it
        explained(connection, str(error), {"t": Source(contract, file)})
        return None
    finally:
        assert time.monotonic() - began < SECONDS


def _rows(connection: duckdb.DuckDBPyConnection, contract: Contract, file: list[SourceFile]) -> list[Any]:
    """The rows as the rules read them. Asserts that DuckDB's own reader gives the same for a plain file."""
    texts = ", ".join(f"CAST(#{number + 1} AS VARCHAR)" for number in range(len(contract.columns)))
    select = source_select(connection, contract, file)
    rows = connection.execute(f"SELECT {texts} FROM ({select})").fetchall()
    plain = plain_files(connection, f"SELECT * FROM ({select})", [(contract, file)], 1)
    if plain:
        select = source_select(connection, contract, file, plain)
        assert connection.execute(f"SELECT {texts} FROM ({select})").fetchall() == rows
    return rows


@pytest.mark.timeout(long_enough(EXAMPLES))
@bounded(EXAMPLES)
@given(TABLES)
@example([["02134", "1"], ["90210", "2.50"]])
@example([["12345678901234567890", "x"], ["12345678901234567891", "y"]])
def test_a_csv_value_is_read_as_it_stands_there(
    connection: duckdb.DuckDBPyConnection, folder: Path, table: list[list[str]]
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[f"c{n}" for n in range(len(table[0]))], *table])
    path = folder / "x.csv"
    try:
        path.write_bytes(text.getvalue().encode())
    except UnicodeEncodeError:
        return
    found = read(connection, path, "CSVWithNames")
    if found is None or "\r" in text.getvalue():
        return
    columns, rows = found
    assert len(rows) == len(table)
    for position, (_, kind) in enumerate(columns):
        for read_row, written in zip(rows, table, strict=True):
            value, stands = read_row[position], written[position]
            assert (value is None) == (stands == "")
            assert value is None or same(kind, value, stands), (kind, value, stands)


def same(kind: str, value: str, stands: str) -> bool:
    """Whether a value means the same as the text in the file, and has lost nothing of it."""
    if kind in {"VARCHAR", "BIGINT", "HUGEINT", "BOOLEAN", "DATE"}:
        return value == stands
    if kind == "DOUBLE" or kind.startswith("DECIMAL"):
        return Decimal(value) == Decimal(stands)
    if kind == "TIMESTAMP":
        return value.partition(".")[0].startswith(stands.replace("T", " ").partition(".")[0])
    return kind in {"TIME", "TIMESTAMP WITH TIME ZONE"}


@pytest.mark.timeout(long_enough(EXAMPLES))
@bounded(EXAMPLES)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), JSON_VALUES, max_size=3), min_size=1, max_size=8))
@example([{"a": 12345678901234567890}, {"a": 1.5}])
@example([{"a": "1.2345678901234567890, 2"}, {"b": 12345678901234567.0}])
def test_a_json_number_or_text_is_read_as_it_stands_there(
    connection: duckdb.DuckDBPyConnection, folder: Path, rows: list[dict[str, Any]]
) -> None:
    path = folder / "x.ndjson"
    try:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    except UnicodeEncodeError:
        return
    found = read(connection, path, "JSONEachRow")
    if found is None:
        return
    columns, values = found
    for position, (name, kind) in enumerate(columns):
        for row, read_row in zip(rows, values, strict=True):
            stands, value = row.get(name), read_row[position]
            if kind in {"BIGINT", "HUGEINT", "VARCHAR"}:
                assert value == (None if stands is None else str(stands))
            elif kind == "DOUBLE" or (kind.startswith("DECIMAL") and not kind.endswith("[]")):
                assert stands is None or Decimal(value) == Decimal(json.dumps(stands)) or float(value) == stands


@pytest.mark.timeout(long_enough(EXAMPLES))
@bounded(EXAMPLES)
@given(st.binary(max_size=400), st.sampled_from(["CSV", "CSVWithNames", "JSONEachRow", "Parquet"]))
@example(b'a,b\n1,"\n', "CSVWithNames")
@example(b"\xef\xbb\xbf", "CSVWithNames")
@example(b'{"a": 1', "JSONEachRow")
@example(b"PAR1" + b"\xff" * 40 + b"PAR1", "Parquet")
def test_any_bytes_are_read_or_refused(
    connection: duckdb.DuckDBPyConnection, folder: Path, content: bytes, form: str
) -> None:
    path = folder / "x"
    path.write_bytes(content)
    read(connection, path, form)


@pytest.mark.timeout(long_enough(EXAMPLES))
@bounded(EXAMPLES)
@given(st.lists(NAMES, min_size=1, max_size=8))
@example(["ä", "Ä", "k", "\u212a"])
@example(["a", "A", "a_1"])
def test_a_header_of_any_names_gives_as_many_columns(
    connection: duckdb.DuckDBPyConnection, folder: Path, names: list[str]
) -> None:
    path = folder / "x.csv"
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([names, ["1"] * len(names)])
    try:
        path.write_bytes(text.getvalue().encode())
    except UnicodeEncodeError:
        return
    found = read(connection, path, "CSVWithNames")
    if found is not None:
        assert len(found[0]) == len(names)
        assert [row for row in found[1] if row] == [("1",) * len(names)]


@pytest.mark.timeout(long_enough(EXAMPLES))
@bounded(EXAMPLES)
@given(st.text(st.sampled_from("/.*?[]\\ab~$\0\n{}%é"), max_size=40))
@example("/" + "*a" * 200 + "b")
def test_a_pattern_never_leads_out_of_its_folder(folder: Path, pattern: str) -> None:
    (folder / "root" / "a").mkdir(parents=True, exist_ok=True)
    (folder / "root" / "a" / ("a" * 100)).touch()
    (folder / "secret").touch()
    began = time.monotonic()
    with suppress(InvalidSource):
        for file in find_source_files(f"{folder}/root/{pattern}", [folder / "root"]):
            assert Path(file.real).is_relative_to((folder / "root").resolve())
    assert time.monotonic() - began < SECONDS
