"""`matview view describe`, `matview table describe`, and where descriptions are shown."""

import pytest

from orchestrator.cli.output import Failure
from tests.cli.conftest import Matview
from tests.cli.support import OF_VIEW, VIEW_ID, VIEWS, CannedApi, Json, page, view

NOTES, TABLE_NOTES = "saved_query_column_annotations/", "warehouse_column_annotations/"
NOTE_ID = "0d9f1f0e-0000-4000-8000-00000000000a"
TABLE_ID = "0d9f1f0e-0000-4000-8000-00000000000b"
COLUMNS = [
    {"name": "total", "duckdb_type": "DOUBLE", "description": "in EUR,\nwithout tax"},
    {"name": "n", "duckdb_type": "BIGINT", "description": None},
]


def note(column: str, text: str, **more: object) -> Json:
    return {"id": NOTE_ID, "column_name": column, "description": text, "exists": True, **more}


@pytest.fixture
def sales(api: CannedApi) -> CannedApi:
    api.will_say("GET", VIEWS, page(view()))
    api.will_say("GET", OF_VIEW, view(columns=COLUMNS))
    api.will_say("POST", NOTES, note("", ""), status=201)
    return api


@pytest.mark.parametrize(
    ("words", "column", "text", "shown"),
    [
        (("what was sold",), "", "what was sold", "sales"),
        (("", "money"), "", "money", "sales"),
        (("total", "in EUR"), "total", "in EUR", "sales.total"),
        (("gone", "it was there once"), "gone", "it was there once", "sales.gone"),
    ],
)
def test_a_view_or_a_column_is_described(
    matview: Matview, sales: CannedApi, *, words: tuple[str, ...], column: str, text: str, shown: str
) -> None:
    assert matview("view", "describe", "Sales", *words).stdout == f"{shown}: described\n"
    assert sales.posted() == [{"saved_query": VIEW_ID, "column_name": column, "description": text}]


def test_without_a_text_the_descriptions_are_shown(matview: Matview, sales: CannedApi) -> None:
    notes = [note("", "what was sold"), note("total", "in EUR,\nwithout tax"), note("old", "gone", exists=False)]
    sales.will_say("GET", NOTES, page(*notes))
    assert matview("view", "describe", "sales").stdout.splitlines() == [
        "sales                  what was sold",
        "total                  in EUR,",
        "                       without tax",
        "old (no longer there)  gone",
    ]
    assert matview("view", "describe", "sales", "TOTAL").stdout == "total  in EUR,\n       without tax\n"
    assert matview("view", "describe", "sales", "n").stdout == "sales.n: not described\n"
    assert sales.posted() == [], "the name of a column is no description"


def test_a_single_word_that_is_no_column_is_taken_for_a_misspelled_one(matview: Matview, sales: CannedApi) -> None:
    error = matview("view", "describe", "sales", "totl").exception
    assert isinstance(error, Failure)
    assert str(error).startswith('sales has no column "totl"; ')
    assert sales.posted() == []


def test_an_empty_text_deletes_a_description(matview: Matview, sales: CannedApi) -> None:
    sales.will_say("GET", NOTES, page(note("total", "in EUR")))
    sales.will_say("DELETE", f"{NOTES}{NOTE_ID}/", b"", status=204)
    assert matview("view", "describe", "sales", "Total", "").stdout == "sales.Total: no longer described\n"
    assert ("DELETE", f"/api/projects/7/{NOTES}{NOTE_ID}/", None) in sales.requests
    error = matview("view", "describe", "sales", "n", "").exception
    assert isinstance(error, Failure)
    assert str(error) == "sales.n is not described"


def test_a_source_table_is_described_likewise(matview: Matview, api: CannedApi) -> None:
    table = {"id": TABLE_ID, "name": "orders", "columns": COLUMNS}
    api.will_say("GET", "warehouse_tables/", page(table))
    api.will_say("GET", f"warehouse_tables/{TABLE_ID}/", table)
    api.will_say("POST", TABLE_NOTES, note("n", "x"), status=201)
    api.will_say("GET", TABLE_NOTES, page(note("n", "how many")))
    assert matview("table", "describe", "orders", "n", "how many").stdout == "orders.n: described\n"
    assert api.posted() == [{"table": TABLE_ID, "column_name": "n", "description": "how many"}]
    assert matview("table", "describe", "orders").stdout == "n  how many\n"
    assert api.requests[-1][1] == f"/api/projects/7/{TABLE_NOTES}?table_id={TABLE_ID}&limit=250&offset=0"


def test_a_view_is_shown_with_the_descriptions_of_its_columns(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view()))
    more = ("next_run_at", "schedule_paused", "paused_reason", "row_count", "size_bytes", "current_snapshot_id")
    shown = view(columns=COLUMNS, description="what was sold", latest_history_id="r", query={"query": "SELECT 1"})
    api.will_say("GET", OF_VIEW, shown | dict.fromkeys(more))
    assert matview("view", "show", "sales").stdout.splitlines()[-6:] == [
        "columns      total DOUBLE, n BIGINT",
        "",
        "total  in EUR,",
        "       without tax",
        "",
        "SELECT 1",
    ]
