"""How far a query is: told to the server by heartbeats, and now and then to the run's workflow.

Heartbeats carry a cancel back, and are what the UI shows of an activity in progress. The workflow learns of it by
updates, so that its own page says in words how far it is; each one is kept in its history, so there are few of them.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from temporalio import activity
from temporalio.client import WorkflowHandle

from orchestrator.model.errors import OrchestratorError
from orchestrator.model.run import Progress
from orchestrator.temporal import contract

logger = logging.getLogger(__name__)

_HEARTBEAT_SECONDS = 0.5
# A run that is over by then needs no word on how far it is.
_FIRST_UPDATE_SECONDS = 3.0
# The longer a query takes, the less often: a day of it is some eighty updates.
_UPDATE_GROWTH = 1.15


# A workflow that does not answer has no worker at the moment; the next update reaches it.
_UPDATE_SECONDS = 10.0


class ProgressReporter:
    """The latest progress of a running query."""

    def __init__(self) -> None:
        self.progress = Progress(percent=None, elapsed_seconds=0)

    def report(self, progress: Progress) -> None:
        """Replace the progress."""
        self.progress = progress


async def report_trouble(error: OrchestratorError) -> None:
    """Say why the query is tried again, on the page of the run."""
    with suppress(Exception):
        await _workflow().signal(contract.PROGRESS, Progress(percent=None, elapsed_seconds=0, trouble=error.message))


@asynccontextmanager
async def report_progress() -> AsyncIterator[ProgressReporter]:
    """Heartbeat at an even pace whatever the query does: also while it plans, and while its files are made durable."""
    latest = ProgressReporter()
    telling = [asyncio.create_task(_heartbeat(latest)), asyncio.create_task(_update(latest))]
    try:
        yield latest
    finally:
        for task in telling:
            task.cancel()


async def _heartbeat(latest: ProgressReporter) -> None:
    while True:
        # First the pause: a query that is over by then has cost the server nothing.
        await asyncio.sleep(_HEARTBEAT_SECONDS)
        activity.heartbeat(latest.progress)


async def _update(latest: ProgressReporter) -> None:
    pause = _FIRST_UPDATE_SECONDS
    while True:
        await asyncio.sleep(pause)
        pause *= _UPDATE_GROWTH
        try:
            async with asyncio.timeout(_UPDATE_SECONDS):
                await _workflow().execute_update(contract.PROGRESS, latest.progress)
        except Exception as error:
            # The run is over, or the server away: either is for others to notice.
            logger.debug("progress could not be told: %s", error)


def _workflow() -> "WorkflowHandle[object, object]":
    info = activity.info()
    if info.workflow_id is None:
        raise RuntimeError("this activity is a step of a workflow")
    return activity.client().get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
