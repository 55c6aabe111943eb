"""The dashboard and the alerts as files. The acceptance tests check on a real stack that their metrics exist."""

import asyncio
import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prometheus_client import CollectorRegistry

from orchestrator.model.run import Run, RunStatus, Trigger
from orchestrator.telemetry.instruments import WorkerMetrics
from orchestrator.telemetry.runs import RunCounter
from tests.telemetry.support import ALERTS, DASHBOARD, ROOT, RUNBOOK, metric_names


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def anchors() -> set[str]:
    """The anchors of the runbook's headings."""
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


def ended(status: RunStatus, code: str | None) -> Run:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    ids = {"id": uuid4(), "saved_query_id": uuid4(), "workflow_run_id": uuid4(), "workflow_id": "materialize/x"}
    ends = {"started_at": moment, "finished_at": moment, "error_code": code}
    return Run(**ids, **ends, status=status, trigger=Trigger.SCHEDULE)


def samples(registry: CollectorRegistry) -> dict[str, float]:
    """The metrics that a worker serves of its runs, by name and labels as Prometheus writes them."""
    found = [sample for family in registry.collect() for sample in family.samples]
    return {
        sample.name + "{" + ",".join(f'{name}="{value}"' for name, value in sample.labels.items()) + "}": sample.value
        for sample in found
        if sample.name.startswith("matview_run")
    }


def promtool_tests(file: Path, test: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    file.write_text(yaml.safe_dump({"tests": [test]}))
    return subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is part of Prometheus")
async def test_failures_alert_though_each_is_the_first_with_its_code(tmp_path: Path) -> None:
    reported = [ended(RunStatus.FAILED, f"code_{number}") for number in range(4)]
    reported += [ended(RunStatus.COMPLETED, None) for _ in range(4)]
    registry = CollectorRegistry()
    counter, before = RunCounter(WorkerMetrics(registry)), samples(registry)
    for run in reported:
        counter.ended(run)
    (expr,) = [rule["expr"] for rule in rules() if rule["alert"] == "MatviewRunsFail"]
    series = [
        {"series": name, "values": f"{before.get(name, '_')}x10 {value}x60"}
        for name, value in samples(registry).items()
    ]
    expected = {"expr": expr, "eval_time": "30m", "exp_samples": [{"labels": "{}", "value": 0.5}]}
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [expected]}
    checked = await asyncio.to_thread(promtool_tests, tmp_path / "test.yml", test)
    assert checked.returncode == 0, checked.stdout + checked.stderr
