"""Recorded histories, replayed: code that is released must go on with runs that an earlier release began.

`python -m tests.workflows.record` records those that are not there yet. Do that to add a history; a history that no
longer replays means that the workflow's code has to be changed another way (with `workflow.patched`), not that it is
recorded again.
"""

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from orchestrator.worker import WORKFLOWS
from tests.workflows.sandbox import workflow_runner

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))


def test_there_is_a_history_of_every_way_in_which_a_generation_ends() -> None:
    assert {path.stem for path in HISTORIES} >= {
        "run-completed",
        "run-skipped",
        "run-failed",
        "run-cancelled",
        "run-cancelled-at-once",
        "run-cancelled-too-late",
        "run-not-begun",
        "run-retried",
        "run-held",
        "tick-completed",
        "tick-failed",
        "tick-skipped",
        "tick-run-cancelled",
        "tick-cancelled",
        "tick-held",
        "tick-followed",
        "tick-followed-failed",
        "tick-followed-cancelled",
        "generation-scheduled",
        "generation-completed",
        "generation-completed-in-part",
        "generation-completed-of-two",
        "generation-skipped",
        "generation-partial",
        "generation-failed",
        "generation-cancelled",
        "generation-members-cancelled",
        "generation-waited",
        "generation-source-moved",
        "generation-retried",
        "generation-notified",
        "generation-copied-in-part",
        "run-copied-skipped",
        "run-copied-cancelled",
        "run-failed-notified",
        "run-recovered-notified",
        "notice-delivered",
        "notice-retried",
        "notice-refused",
        "reconciled",
        "try-ready",
        "try-failed",
        "try-cancelled",
        "try-retried",
    }


@pytest.mark.parametrize(("name", "history"), [(path.stem, path.read_text()) for path in HISTORIES])
async def test_a_recorded_history_replays(name: str, history: str) -> None:
    replayer = Replayer(workflows=WORKFLOWS, data_converter=pydantic_data_converter, workflow_runner=workflow_runner())
    await replayer.replay_workflow(WorkflowHistory.from_json(name, history))
