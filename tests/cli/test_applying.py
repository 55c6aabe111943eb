"""`matview apply` with answers that a healthy API does not give."""

from pathlib import Path

from tests.cli.conftest import Matview
from tests.cli.support import CannedApi, Json

PLAN: Json = {
    "base": "b",
    "changes": [{"action": "create", "kind": "view", "name": "v", "columns": {"added": []}, "checks": []}],
    "unchanged": 0,
    "problems": [],
    "broken": [],
    "runs": [{"name": "v", "level": 0, "reason": "new", "last_seconds": None}],
}


def test_a_refresh_that_could_not_be_started_is_said(matview: Matview, api: CannedApi, empty_folder: Path) -> None:
    (empty_folder / "views").mkdir()
    (empty_folder / "views" / "v.sql").write_text("/*---\nfrequency: 1hour\n---*/\nSELECT 1 AS n\n")
    api.will_say("POST", "definitions/plan/", PLAN)
    api.will_say("POST", "definitions/apply/", {"plan": PLAN, "generation_id": None})
    applied = matview("apply", "--yes")
    assert applied.exit_code == 0, applied.output
    assert "applied: 1 created" in applied.stdout
    assert "the refresh could not be started; to refresh: " in applied.stderr
    assert "the refresh" not in matview("apply", "--yes", "--no-refresh").stderr
