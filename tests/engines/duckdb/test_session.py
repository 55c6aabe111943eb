"""The database that a query finds, which was opened before its process was forked."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.engines.duckdb import child_process
from orchestrator.engines.duckdb.child import session
from tests.engines.conftest import LIMITS, Run
from tests.engines.duckdb import unruly

# As DuckDB shows them.
SETTINGS = {
    "memory_limit": "500.0 MiB",
    "threads": str(LIMITS.threads),
    "enable_external_access": "false",
    "lock_configuration": "true",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",
    "preserve_insertion_order": "false",
    "TimeZone": "UTC",
}
NAMES = ", ".join(f"'{name}'" for name in SETTINGS)
FORKED = """
import os
import orchestrator.engines.duckdb.child.main, orchestrator.engines.duckdb.child.preload
print(len(os.listdir("/proc/self/task")))
"""


async def test_every_query_has_the_settings_of_its_own_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "serve", unruly.serve)
    found = await run(f"SELECT name, value FROM duckdb_settings() WHERE name IN ({NAMES})")
    assert dict(found.rows()) == SETTINGS
    spilled = await run("SELECT value FROM duckdb_settings() WHERE name = 'max_temp_directory_size'")
    assert spilled.rows() == [("3.9 GiB",)]


@pytest.mark.parametrize("spills", [False, True])
def test_the_first_session_of_a_process_is_like_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spills: bool
) -> None:
    monkeypatch.setattr(session, "_preopened", [])
    session.preopen_database()
    spill = str(tmp_path) if spills else ""
    for _ in range(2):
        with session.open_session(LIMITS.model_dump(), spill=spill) as connection:
            rows = connection.execute(
                f"SELECT name, value FROM duckdb_settings() WHERE name IN ({NAMES}, 'temp_directory')"
            ).fetchall()
        assert dict(rows) == SETTINGS | {"temp_directory": spill}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system does not say how many threads there are")
def test_what_is_forked_has_no_other_thread() -> None:
    reported = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    assert reported.stdout.strip() == "1"


async def test_no_two_queries_draw_the_same_random_numbers(run: Run) -> None:
    drawn = [(await run("SELECT random() AS number, uuid() AS u, gen_random_uuid() AS v")).rows()[0] for _ in range(3)]
    for values in zip(*drawn, strict=True):
        assert len(set(values)) == len(values)
