"""Every measurement completes and writes figures. Their values depend on the machine, and are not checked."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import KINDS

ROOT = Path(__file__).parents[2]
# Each starts a stack of its own, so `make test` tries one of them and `make nightly` all.
EVERY_KIND = bool(os.environ.get("MATVIEW_EVERY_BENCHMARK"))
# Part of the name of a figure that each must have beside the product's own: mostly that of its comparison.
COMPARED = {
    "big": "plain DuckDB",
    "spark": "plain DuckDB",
    "outgrown": "DuckDB gives the query up",
    "small": "processor time a view, worker",
    "dag": "descendants",
    "generations": "worker killed",
    "checks": "without",
    "remote": "httpfs",
    "databases": "ADBC into Parquet, all in memory",
    "project": "nothing changed",
    "journey": "dbt-duckdb",
    "verdicts": "SQLMesh",
    "start": "a home that exists",
    "api": "the floor",
    "console": "the floor",
    "schedules": "Temporal alone",
    "overhead": "memory of plain DuckDB",
    "cancel": "until the process is gone",
    "rollback": "a rollback",
    "workers": "4 workers",
    "sources": "DuckDB alone",
    "reading": "run beside plain DuckDB",
    "hostile": "95th percentile",
    "restore": "until every schedule is there",
    "results": "the floor",
}


def test_every_measurement_is_tried() -> None:
    assert set(COMPARED) == set(KINDS)


@pytest.mark.timeout(300)  # each starts its own stack, which takes many seconds on a busy machine
@pytest.mark.parametrize("kind", KINDS if EVERY_KIND else ["small"])
def test_a_quick_measurement_writes_figures(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", kind, "--quick", "--json", str(path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(path.read_text())
    assert len(found["load_before"]) == len(found["load_after"]) == 3
    figures = {figure["name"]: figure for figure in found["figures"]}
    assert len(figures) == len(found["figures"]), "two figures have one name"
    assert any(COMPARED[kind] in name for name in figures), figures.keys()
    for name, figure in figures.items():
        assert figure["unit"], name
        assert figure["values"], name
        assert all(math.isfinite(value) for value in figure["values"]), name
        assert name[:30] in ended.stdout, "a figure that is not shown"
