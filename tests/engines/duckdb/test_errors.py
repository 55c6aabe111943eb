"""The message that an author gets for an error of DuckDB, for an error text of any form."""

import time
from uuid import uuid4

import duckdb
import pytest

from orchestrator.engines.duckdb.child.errors import clean_message
from orchestrator.model.run import RunRequest
from orchestrator.temporal.run_page import render

BOUND_SECONDS = 2
HOSTILE = {
    "line breaks": "\n" * 1_000_000,
    "line breaks and spaces": "\n " * 500_000,
    "spaces": " " * 1_000_000,
    "spaces and one line break": "\n" + " " * 1_000_000,
    "lines that are quoted": "\nLINE 1: " * 100_000,
    "lines that are almost quoted": "\nLINE 1" * 100_000,
    "digits": "\nLINE " + "1" * 1_000_000,
    "files of a CSV error": "CSV" + "\n file = " * 100_000,
    "files that are none": "CSV" + "\n file =" * 100_000,
    "advice": "CSV" + "\nPossible solution" * 50_000,
    "tabs": "CSV" + "\n\t" * 500_000,
}


@pytest.mark.parametrize("kind", [duckdb.InvalidInputException, duckdb.OutOfMemoryException])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_text_of_any_shape_is_read_at_once(text: str, kind: type[duckdb.Error]) -> None:
    began = time.monotonic()
    message = clean_message(kind(text))
    assert time.monotonic() - began < BOUND_SECONDS
    assert len(message) <= 2000


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_the_page_of_a_run_is_written_at_once(text: str) -> None:
    began = time.monotonic()
    assert render(RunRequest(saved_query_id=uuid4()), "Failed", message=text)
    assert time.monotonic() - began < BOUND_SECONDS


def test_the_quoted_statement_is_left_out() -> None:
    message = 'Binder Error: Referenced column "x" not found\n\nLINE 3: SELECT x\n               ^'
    assert clean_message(duckdb.BinderException(message)) == 'Binder Error: Referenced column "x" not found'


def test_advice_on_settings_is_left_out_and_the_file_of_a_csv_error_is_not() -> None:
    lines = ["Invalid Input Error: CSV Error on Line: 2", "Original Line: " + "x" * 100_000, "Could not convert",
             "Possible solutions:", "* Set ignore_errors", "", "  file = /a b/c.csv", "  delimiter = ,"]  # fmt: skip
    message = clean_message(duckdb.InvalidInputException("\n".join(lines)))
    assert message.startswith("Invalid Input Error: CSV Error on Line: 2\nOriginal Line: xxx")
    assert len(message) <= 2000
    lines[1] = "Original Line: 1"
    assert clean_message(duckdb.InvalidInputException("\n".join(lines))) == (
        "Invalid Input Error: CSV Error on Line: 2\nOriginal Line: 1\nCould not convert (file /a b/c.csv) "
        "The table's option on_bad_row (--on-bad-row skip, or quarantine) leaves such rows out."
    )
