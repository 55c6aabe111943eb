"""Reports the progress of a query: to the server by heartbeats, and less often to the run's workflow by updates.

The answer to a heartbeat can carry a cancel, and the Temporal UI shows the last one of a pending activity. From updates
the workflow puts the progress on the run's page. Each update stays in its history, so there are few of them.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from temporalio import activity

from orchestrator.activities.heartbeat import heartbeating, workflow_ids
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.run import Progress
from orchestrator.temporal import contract

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 0.5
# A run that ends sooner needs no report of its progress.
_FIRST_UPDATE_SECONDS = 3.0
# Each pause between updates is longer than the one before: a query of a day sends some sixty.
_UPDATE_GROWTH = 1.15
# A workflow that does not answer in this time has no worker at the moment; the next update reaches it.
_UPDATE_SECONDS = 10.0
# The activity has ended its heartbeats by then, and would be given up for lost after five seconds without one.
_TROUBLE_SECONDS = 2.0


class ProgressReporter:
    """The latest progress of a running query of the run `run_id`."""

    def __init__(self, run_id: UUID) -> None:
        self._run_id = run_id
        self.progress = Progress(run_id=run_id, percent=None, elapsed_seconds=0)

    def report(self, progress: Progress) -> None:
        """Replace the progress."""
        self.progress = progress.model_copy(update={"run_id": self._run_id})


async def report_trouble(run_id: UUID, error: OrchestratorError) -> None:
    """Send the run's workflow the reason why the query is tried again, for its page."""
    trouble = Progress(run_id=run_id, percent=None, elapsed_seconds=0, trouble=error.message)
    await send_update(contract.PROGRESS, trouble, _TROUBLE_SECONDS)


@asynccontextmanager
async def report_progress(run_id: UUID) -> AsyncIterator[ProgressReporter]:
    """Report progress at regular intervals, also while the query is planned and while its files are synced to disk."""
    latest = ProgressReporter(run_id)
    async with heartbeating(HEARTBEAT_SECONDS, lambda: (latest.progress,)), updating(latest):
        yield latest


@asynccontextmanager
async def updating(latest: ProgressReporter) -> AsyncIterator[None]:
    """Send the run's workflow the progress now and then, without heartbeats."""
    sending = asyncio.create_task(_update(latest))
    try:
        yield
    finally:
        sending.cancel()


async def _update(latest: ProgressReporter) -> None:
    pause = _FIRST_UPDATE_SECONDS
    while True:
        await asyncio.sleep(pause)
        pause *= _UPDATE_GROWTH
        await send_update(contract.PROGRESS, latest.progress)


async def send_update(name: str, argument: object, at_most: float = _UPDATE_SECONDS) -> bool:
    """Send an update to the workflow of this activity. False if no worker took it in `at_most` seconds."""
    try:
        workflow_id, workflow_run_id = workflow_ids()
        handle = activity.client().get_workflow_handle(workflow_id, run_id=str(workflow_run_id))
        async with asyncio.timeout(at_most):
            await handle.execute_update(name, argument)
    except Exception as error:
        # The run is over, or the server is away. Both are noticed elsewhere; the query need not fail for them.
        logger.debug("the update %s could not be sent: %s", name, error)
        return False
    return True
