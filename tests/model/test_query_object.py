"""The query object and its placeholders."""

import time
from contextlib import suppress

import duckdb
import pytest

from orchestrator.model.errors import InvalidQuery
from orchestrator.model.query_object import MAX_BYTES, check_query, refuse_placeholders


@pytest.mark.parametrize(
    "query",
    [
        {"kind": "HogQLQuery", "query": "select 1"},
        {"kind": "SQLQuery", "query": "select 1"},
        {"query": "select 1"},
        {"query": "select 1", "name": "kept as it was sent"},
    ],
)
def test_a_query_object_is_returned_as_it_was_sent(query: dict[str, str]) -> None:
    assert check_query(query) is query


@pytest.mark.parametrize("query", [None, "select 1", 7, ["select 1"], True])
def test_anything_but_an_object_is_refused_with_a_hint(query: object) -> None:
    with pytest.raises(InvalidQuery, match="JSON object"):
        check_query(query)


@pytest.mark.parametrize("query", [{}, {"kind": "HogQLQuery"}, {"query": ""}, {"query": "  \n"}, {"query": 1}])
def test_an_object_without_a_statement_is_refused(query: object) -> None:
    with pytest.raises(InvalidQuery, match="SELECT statement"):
        check_query(query)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InvalidQuery, match="HogQLQuery, SQLQuery"):
        check_query({"kind": "TrendsQuery", "query": "select 1"})


@pytest.mark.parametrize(
    "sql",
    [
        "select {'a': 1}",
        "select {a: 1, b: {c: 2}}",
        "select map {1 + 1: 'x'}",
        "select '{filters}', \"{x}\" from t -- {filters}\n/* {variables.a} */",
        "select $${filters}$$",
        "select 'it''s {here}'",
        "select {'k': case when x then 1::int else 2 end}",
    ],
)
def test_duckdbs_own_literals_and_quoted_braces_are_not_placeholders(sql: str) -> None:
    refuse_placeholders(sql)


@pytest.mark.parametrize(
    "sql", ["select {filters}", "select {1 + 2}", "select x from t where {x::int}", "select {", "{}"]
)
def test_a_placeholder_is_refused(sql: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        refuse_placeholders(sql)
    assert refused.value.message == "Filters and placeholder expressions are not allowed in views"


def test_a_variable_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidQuery) as refused:
        refuse_placeholders("select * from t where a = {variables.foo}")
    assert refused.value.message == "Variables like {variables.foo} are not allowed in views"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS a /* x /* y */ {z} */",
        "SELECT 1 /* /* /* {a} */ */ {b} */ -- {c}",
        "SELECT 1 /**/ /*/ {a} */",
        "SELECT E'it\\'s {name}' AS a",
        "SELECT e'\\\\', 1",
        "SELECT E'a'\n 'b\\'{x}'",
        "SELECT E'a' -- {y}\n -- '\n 'b\\'{x}'",
        "SELECT '\\', 1 -- {x}",
        "SELECT xE'a\\', 1 FROM t",
        "SELECT MAP {} AS m",
        "SELECT map\n/* {x} */ { -- {y}\n}",
        "SELECT MAP {MAP {}: {a: MAP{}}}",
        "SELECT {'a': 1, }",
        "SELECT MAP {a[1:2]: 1}",
        'SELECT 1 AS "{x""}"',
        "SELECT a$$b$$ FROM t",
        "SELECT $é$ {x} $a$ '{ $é$",
        "SELECT $$ $a$ {x} $a$ ' $$, 1",
        "SELECT 1 -- {x}\r, 2",
        "SELECT 1 AS ä\u00a0-- {x}",
        "SELECT\u00a0E'\\'{x}'",
        "SELECT N'{', X'7b{', B'0{'",
        "SELECT " + "(" * 5000 + "{a: 1}" + ")" * 5000,
    ],
)
def test_what_duckdb_parses_is_no_placeholder(sql: str) -> None:
    duckdb.connect().extract_statements(sql)
    refuse_placeholders(sql)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT {}", "Filters"),
        ('SELECT "map" {}', "Filters"),
        ("SELECT map_ {}", "Filters"),
        ("SELECT MAP {} {filters}", "Filters"),
        ("SELECT E'\\' {x}' || {variables.y}", "{variables.y}"),
        ("SELECT '\\' || {variables.y}", "{variables.y}"),
        ("SELECT /* /* */ {a} */ { variables.y }", "{variables.y}"),
        ("SELECT {a: {filters}}", "Filters"),
        ("SELECT {a: ({variables.b})}, {filters}", "{variables.b}"),
        ("SELECT {a::INT}", "Filters"),
        ("SELECT xE'a\\' {filters}", "Filters"),
        ("SELECT a$$ {filters} $$", "Filters"),
    ],
)
def test_a_placeholder_is_found_behind_what_only_looks_like_text(sql: str, said: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        refuse_placeholders(sql)
    assert said in refused.value.message


@pytest.mark.parametrize(
    "piece",
    ["{", "{:", "{}", "{a:", "/*", "*/", "--", "'", "E'", "E'a'\n", '"', "$", "$$", "$a", "$a$", "\\", "(", "x ", "é"],
)
@pytest.mark.parametrize("around", [("", ""), ("{", "}"), ("SELECT {a: '", ""), ("{E'", "'}")])
def test_any_text_is_looked_through_in_one_pass(piece: str, around: tuple[str, str]) -> None:
    """The case that stopped the API took ten seconds for 32,000 characters; these would take forty times as long."""
    text = around[0] + piece * (200_000 // len(piece)) + around[1]
    began = time.process_time()
    with suppress(InvalidQuery):
        refuse_placeholders(text)
    assert time.process_time() - began < 20


def test_the_case_that_stopped_the_api() -> None:
    began = time.process_time()
    refuse_placeholders("SELECT " + "{" * 6400 + "x" + ":1}" * 6400)
    assert time.process_time() - began < 5


def test_a_statement_is_measured_before_it_is_looked_at() -> None:
    check_query({"query": "SELECT 1 --" + "é" * ((MAX_BYTES - 11) // 2)})
    for sql in ("SELECT 1 --" + "x" * MAX_BYTES, "SELECT 1 --" + "é" * (MAX_BYTES // 2), "{" * 10_000_000):
        with pytest.raises(InvalidQuery, match="longer than 200,000 bytes"):
            check_query({"query": sql})


@pytest.mark.parametrize(
    "extra", [{"note": "x" * 20_000}, {"x" * 20_000: 1}, {str(n): n for n in range(5000)}, {"note": "é" * 4000}]
)
def test_what_stands_beside_a_statement_is_bounded(extra: dict[str, object]) -> None:
    check_query({"query": "SELECT 1", "note": "x" * 19_000})
    with pytest.raises(InvalidQuery, match="beside the statement"):
        check_query({"query": "SELECT 1", **extra})
