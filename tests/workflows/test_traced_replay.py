"""A history that was recorded without traces replays with them, and the other way round: they change no command."""

import json
import subprocess
import sys
from pathlib import Path

HISTORIES = Path(__file__).parent / "histories"
REPLAY = """
import asyncio, os, sys
from pathlib import Path
from opentelemetry import trace
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer
from orchestrator.telemetry import tracing
from orchestrator.worker import WORKFLOWS
from tests.workflows.sandbox import workflow_runner

async def main():
    tracing.set_up_tracing("matview-worker", Path(sys.argv[1]))
    replayer = Replayer(
        workflows=WORKFLOWS, data_converter=pydantic_data_converter, workflow_runner=workflow_runner(),
        plugins=tracing.plugins(),
    )
    for path in sorted(Path(sys.argv[2]).glob("*.json")):
        await replayer.replay_workflow(WorkflowHistory.from_json(path.stem, path.read_text()))
        print(path.stem, flush=True)
asyncio.run(main())
trace.get_tracer_provider().force_flush()
# Not a normal end: the SDK's own threads live on and may meet an interpreter that is being taken apart.
os._exit(0)
"""


# In a process of its own: a process that traces once does so for good.
def test_every_recorded_history_replays_while_it_is_traced(tmp_path: Path) -> None:
    spans = tmp_path / "spans.jsonl"
    ended = subprocess.run(
        [sys.executable, "-c", REPLAY, str(spans), str(HISTORIES)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert set(ended.stdout.split()) == {path.stem for path in HISTORIES.glob("*.json")}
    reported = [json.loads(line)["name"] for line in spans.read_text().splitlines()] if spans.exists() else []
    assert reported == [], "what is replayed has been reported before"
