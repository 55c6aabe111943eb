"""The dashboard and the alerts as files. That their metrics exist is asked of a real stack, in the acceptance tests."""

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.telemetry.support import ALERTS, DASHBOARD, ROOT, RUNBOOK, metric_names


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def anchors() -> set[str]:
    """What a heading of the runbook is linked as."""
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_what_to_do_and_where_more_of_it_stands(rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    assert set(notes) == {"summary", "runbook", "runbook_url"}
    file, _, anchor = notes["runbook_url"].partition("#")
    assert ROOT / file == RUNBOOK
    assert anchor in anchors()
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert metric_names(rule["expr"]) or rule["expr"].startswith("up{")


def test_the_runbook_is_about_alerts_that_exist() -> None:
    assert {anchor for anchor in anchors() if anchor.startswith("matview")} == {
        rule["alert"].lower() for rule in rules()
    }


def test_every_panel_asks_the_data_source_that_is_chosen_and_fits_on_the_dashboard() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["description"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + 8)}
        assert not cells & taken, f"{panel['title']} lies over another"
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is part of Prometheus")
def test_prometheus_takes_the_alerts() -> None:
    subprocess.run(["promtool", "check", "rules", str(ALERTS)], check=True, capture_output=True)
