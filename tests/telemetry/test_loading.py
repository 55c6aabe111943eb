"""Telemetry that is not enabled is not loaded, and metrics that cannot be served stop no process."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SET_UP = """
import sys
from pathlib import Path
from orchestrator.telemetry import tracing
import orchestrator.worker
tracing.set_up_tracing("matview-worker", FILE)
print(any(name.startswith("opentelemetry.sdk") for name in sys.modules), bool(tracing.plugins()))
with tracing.span("duckdb query", {"matview.rows": 1}) as note:
    note({"matview.bytes": 2})
"""


def loaded(file: str, folder: Path, **variables: str) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MATVIEW_", "OTEL_"))}
    return subprocess.run(
        [sys.executable, "-c", SET_UP.replace("FILE", file)],
        cwd=folder,
        env=own | variables,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.mark.parametrize(
    ("variables", "traces"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_traces_are_loaded_only_where_they_are_asked_for(
    variables: dict[str, str], traces: bool, tmp_path: Path
) -> None:
    # No server listens there. The time-out is short, as the exporter retries until it expires.
    reported = loaded("None", tmp_path, OTEL_EXPORTER_OTLP_TIMEOUT="1", **variables)
    assert reported == f"{traces} {traces}"


def test_a_file_is_enough_for_traces_and_says_which_service_it_was(tmp_path: Path) -> None:
    assert loaded("Path('t.jsonl')", tmp_path) == "True True"
    (line,) = (tmp_path / "t.jsonl").read_text().splitlines()
    assert '"matview.rows": 1' in line
    assert '"matview.bytes": 2' in line
    assert '"service.name": "matview-worker"' in line


def test_a_port_that_is_taken_is_said_and_stops_nothing(tmp_path: Path) -> None:
    code = """
import asyncio, logging, sys
from orchestrator.telemetry.metrics_server import new_registry, serve_metrics
logging.basicConfig(level="INFO")
async def main():
    async with serve_metrics(new_registry(metrics=True), "127.0.0.1", int(sys.argv[1])):
        print("works")
asyncio.run(main())
"""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = str(held.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-c", code, port], cwd=tmp_path, capture_output=True, text=True, check=True
        )
    assert ended.stdout == "works\n"
    assert f"metrics cannot be served at 127.0.0.1:{port}: Address already in use" in ended.stderr


def test_a_proxy_for_requests_to_others_is_not_asked_for_the_metrics_of_the_sdk(tmp_path: Path) -> None:
    code = """
import logging
from orchestrator.telemetry.metrics_server import new_registry
logging.basicConfig(level="INFO")
print(len(list(new_registry(metrics=True).collect())) > 0)
"""
    own = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    with socket.socket() as nobody:  # bound, so that no other process takes the port, but not listening
        nobody.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        ended = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=own | {"http_proxy": proxy},
            capture_output=True,
            text=True,
            check=True,
        )
    assert (ended.stdout, ended.stderr) == ("True\n", "")
