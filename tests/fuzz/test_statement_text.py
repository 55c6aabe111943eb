"""The text of statements: nothing that DuckDB parses is taken for a placeholder, and no text takes long to scan."""

import time
from contextlib import suppress

import duckdb
import pytest
from hypothesis import example, given, strategies as st

from orchestrator.model.errors import InvalidQuery
from orchestrator.model.placeholders import find_placeholder
from orchestrator.model.query_object import check_query
from tests.fuzz.support import bounded, long_enough

EXAMPLES = 600

# Tokens that begin, end or hide something, and expressions, so that enough of the combinations parse.
PIECES = [
    *("{", "}", "(", ")", "[", "]", ":", "::", ":=", ",", "'", "''", '"', '""', "E'", "e'", "\\'", "\\\\", "\\", "N'"),
    *(
        "/*",
        "*/",
        "/",
        "*",
        "--",
        "\n",
        "\r",
        " ",
        "\t",
        "\u00a0",
        "\u2003",
        "$",
        "$$",
        "$a$",
        "$é$",
        "$1",
        "a",
        "é",
        "_",
    ),
    *(
        "MAP",
        "map ",
        "MAP {}",
        "{}",
        "{x}",
        "{filters}",
        "{variables.x}",
        "{'a': 1}",
        "{a: 1}",
        "1",
        "x'",
        "U&'",
        ";",
        "\0",
    ),
]
TEXT = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
# An expression, with something that hides text before, inside and behind it.
OPAQUE = st.sampled_from(
    [
        "/* {TEXT} */",
        "/* /* {TEXT} */ */",
        "--{TEXT}\n",
        "--{TEXT}\r",
        "'{TEXT}'",
        "E'{TEXT}'",
        '"{TEXT}"',
        "$${TEXT}$$",
        "$q${TEXT}$q$",
    ]
)
HIDDEN = st.builds(lambda around, text: around.replace("{TEXT}", text), OPAQUE, TEXT)
EXPRESSION = st.recursive(
    st.sampled_from(["1", "a", "'x'", "MAP {}", "MAP{ }", "E'\\''", "x::INT", "$$ { $$"]) | HIDDEN,
    lambda inner: st.one_of(
        st.builds("{{'k': {}, b: {}}}".format, inner, inner),
        st.builds("MAP {{{}: {}}}".format, inner, inner),
        st.builds("[{}, ({})]".format, inner, inner),
        st.builds("{} {}".format, inner, inner),
        st.builds("f({}, {}::VARCHAR)".format, inner, inner),
    ),
    max_leaves=8,
)
STATEMENT = st.builds("SELECT {} {}".format, EXPRESSION, st.one_of(HIDDEN, TEXT, st.just(""))) | TEXT.map(
    "SELECT {}".format
)


def _is_parsed(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    try:
        return bool(connection.extract_statements(sql))
    except (duckdb.Error, ValueError):
        return False


@pytest.mark.timeout(long_enough(EXAMPLES))
def test_what_duckdb_parses_has_no_placeholder() -> None:
    parsed, with_braces = 0, 0

    @bounded(EXAMPLES)
    @given(sql=STATEMENT)
    @example(sql="SELECT 1 AS a /* x /* y */ {z} */")
    @example(sql="SELECT E'it\\'s {name}' AS a")
    @example(sql="SELECT MAP {} AS m")
    def check(sql: str) -> None:
        nonlocal parsed, with_braces
        if _is_parsed(connection, sql):
            parsed += 1
            with_braces += "{" in sql
            assert find_placeholder(sql) is None, sql

    with duckdb.connect() as connection:
        check()
    assert parsed > EXAMPLES // 20
    assert with_braces > EXAMPLES // 50


@pytest.mark.timeout(long_enough(EXAMPLES))
def test_a_placeholder_inside_of_any_expression_is_found() -> None:
    @bounded(EXAMPLES // 3)
    @given(before=EXPRESSION, behind=EXPRESSION, placeholder=st.sampled_from(["{filters}", "{variables.x}", "{a + b}"]))
    def check(before: str, behind: str, placeholder: str) -> None:
        clean = f"SELECT {before} , 1, {behind}"
        if _is_parsed(connection, clean):
            assert find_placeholder(f"SELECT {before} , {placeholder}, {behind}") == len(f"SELECT {before} , ")

    with duckdb.connect() as connection:
        check()


@pytest.mark.timeout(long_enough(EXAMPLES))
@bounded(40)
@given(start=TEXT, piece=st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join), end=TEXT)
def test_no_text_takes_long_to_look_through(start: str, piece: str, end: str) -> None:
    text = (start + piece * (199_000 // len(piece.encode())) + end)[:199_000]
    began = time.process_time()
    with suppress(InvalidQuery):
        check_query({"query": text})
    assert time.process_time() - began < 20
