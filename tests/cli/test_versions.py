"""`matview view sources`: the files that a version was made from."""

from orchestrator.cli.output import Failure
from tests.cli.conftest import Matview
from tests.cli.support import OF_VIEW, VIEWS, CannedApi, page, view

VERSION = "7b8f3722-e88b-4e4b-9378-dcff5c2b584c"
FILES = f"{OF_VIEW}snapshots/{VERSION}/source_files/"
FILE = {
    "table": "orders",
    "path": "/data/orders/1.csv",
    "bytes": 12,
    "modified_at": "2026-01-01T10:00:00.123456Z",
    "digest": "xxh128:00112233445566778899aabbccddeeff",
}


def test_the_files_of_the_version_that_readers_see_are_listed(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view()))
    api.will_say("GET", OF_VIEW, view(current_snapshot_id=VERSION))
    api.will_say("GET", FILES, page(FILE, {**FILE, "path": "/data/orders/2.csv", "modified_at": None}))
    header, first, second = matview("view", "sources", "sales").stdout.splitlines()
    assert header.split() == ["TABLE", "CHANGED", "BYTES", "DIGEST", "PATH"]
    assert first.split() == ["orders", "2026-01-01T10:00:00Z", "12", FILE["digest"], "/data/orders/1.csv"]
    assert second.endswith("/data/orders/2.csv")


def test_the_files_of_another_version_are_listed(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view()))
    api.will_say("GET", FILES, page(FILE))
    assert "/data/orders/1.csv" in matview("view", "sources", "sales", VERSION).stdout


def test_a_view_without_a_result_has_no_files(matview: Matview, api: CannedApi) -> None:
    api.will_say("GET", VIEWS, page(view()))
    api.will_say("GET", OF_VIEW, view(current_snapshot_id=None))
    error = matview("view", "sources", "sales").exception
    assert isinstance(error, Failure)
    assert str(error) == "sales has no result yet"
