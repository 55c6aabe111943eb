"""A short run of the harness. `make nightly` runs it longer, `make chaos` as long as asked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MINUTES = os.environ.get("MATVIEW_CHAOS_MINUTES", "0.5")
STORES = ("disk", "s3") if "MATVIEW_CHAOS_MINUTES" in os.environ else ("disk",)
PARTS = ("child", "worker", "api", "temporal", "postgres")


@pytest.mark.timeout(540 + 120 * float(MINUTES))
@pytest.mark.parametrize("store", STORES)
def test_readers_see_nothing_wrong_while_everything_is_killed(store: str, session_folder: Path) -> None:
    home, found = session_folder / f"chaos-{store}", session_folder / f"chaos-{store}.json"
    command = [sys.executable, "-m", "chaos", "--minutes", MINUTES, "--seed", "1", "--pace", "5", "--store", store]
    # A test should neither mount file systems nor write gigabytes.
    command += ["--no-bulk", "--no-small-disk", "--home", str(home), "--json", str(found)]
    patience = 480 + 120 * float(MINUTES)
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = json.loads(found.read_text())["figures"]
    # Workers are also killed at a publication. One that was killed a moment ago is left alone, so that may be all.
    killed = {name.removeprefix("kills/").partition(",")[0] for name in figures if name.startswith("kills/")}
    assert killed >= set(PARTS), figures
    assert figures["runs/Completed"] > 0
    assert figures["reads/catalog, good"] > 0
    assert figures["reads/API, good"] > 0
    assert (store == "s3") is any(name.startswith("requests to the bucket/") for name in figures)
