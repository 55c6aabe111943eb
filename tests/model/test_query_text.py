"""The query object and its placeholders."""

import pytest

from orchestrator.model.errors import InvalidQuery
from orchestrator.model.query_text import check_query, refuse_placeholders


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
