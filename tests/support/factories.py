"""Runs as the catalog would give them, for tests that need no catalog."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from orchestrator.model.run import Run, RunStatus, Trigger

START = datetime(2026, 1, 1, tzinfo=UTC)


def a_run(status: RunStatus, **more: Any) -> Run:
    """A run that began at START and took twenty seconds, unless it still runs or `more` says otherwise."""
    usual = {
        "trigger": Trigger.SCHEDULE,
        "started_at": START,
        "finished_at": None if status is RunStatus.RUNNING else START + timedelta(seconds=20),
    }
    ids = {"id": uuid4(), "saved_query_id": uuid4(), "workflow_id": "materialize/x", "workflow_run_id": uuid4()}
    return Run(status=status, **ids, **(usual | more))
