"""`matview view quarantine`, and what `view versions` says of rows that were left out."""

import json

import pytest

from tests.cli.conftest import Matview
from tests.cli.support import OF_VIEW, VIEWS, CannedApi, Json, page, view
from tests.support.tenants import quarantined

SNAPSHOT = "6dbb7ff8-3a52-4a0f-a2e5-8ba2a6a6a0a1"
QUARANTINE = f"{OF_VIEW}snapshots/{SNAPSHOT}/quarantine/"


@pytest.fixture(autouse=True)
def known_view(api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view()))


def answer(count: int, of: int | None = None) -> Json:
    return {"count": of or count, "results": quarantined(count)}


def test_the_rows_that_the_current_version_left_out_are_shown(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", OF_VIEW, view(current_snapshot_id=SNAPSHOT))
    api.will_say("GET", QUARANTINE, answer(2))
    result = matview("view", "quarantine", "sales")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "FILE         LINE  COLUMN  TEXT    REASON",
        "/data/a.csv  0     n       text 0  no BIGINT",
        "/data/a.csv  1     n       text 1  no BIGINT",
    ]
    assert api.requests[-1][1].endswith(f"{SNAPSHOT}/quarantine/?limit=100&offset=0")


def test_a_version_a_table_and_a_page_can_be_named(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", f"{OF_VIEW}snapshots/other/quarantine/", answer(2, of=1234))
    arguments = ("view", "quarantine", "sales", "other", "--table", "orders", "--limit", "2", "--offset", "10")
    assert matview(*arguments).stdout.splitlines()[-1].startswith("2 of 1,234 rows")
    assert api.requests[-1][1].endswith("other/quarantine/?limit=2&offset=10&table=orders")
    assert json.loads(matview(*arguments, "--json").stdout) == answer(2, of=1234)


def test_a_view_without_a_version_has_nothing_to_show(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", OF_VIEW, view(current_snapshot_id=None))
    result = matview("view", "quarantine", "sales")
    assert (result.exit_code, str(result.exception)) == (1, "sales has no version that can be read")


@pytest.mark.parametrize(("skipped", "shown"), [([0, 0], "0"), ([3, 4], "7"), ([], "0")])
def test_the_versions_say_how_many_rows_were_left_out(
    matview: Matview, api: CannedApi, skipped: list[int], shown: str
) -> None:
    version = {
        "id": SNAPSHOT,
        "run_id": "r",
        "created_at": "2026-01-01T10:00:00Z",
        "is_current": True,
        "pinned": False,
        "row_count": 5,
        "size_bytes": 6,
        "inputs": [{"skipped_rows": count} for count in skipped],
    }
    api.will_say("GET", f"{OF_VIEW}snapshots/", page(version))
    header, line = matview("view", "versions", "sales").stdout.splitlines()
    assert (header.split()[-1], line.split()[-1]) == ("SKIPPED", shown)
