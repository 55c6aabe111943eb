"""Execution: starting and stopping the runs of a view, in Temporal and in the catalog at once."""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from orchestrator.catalog import journal, runs
from orchestrator.catalog.database import Database
from orchestrator.links import Links
from orchestrator.model.errors import StillEnding, StillStopping
from orchestrator.model.journal import Verb
from orchestrator.model.principal import User
from orchestrator.model.printable import code
from orchestrator.model.run import RunRequest, RunStatus, Trigger, run_id_of
from orchestrator.model.saved_query import SavedQuery
from orchestrator.temporal.executions import Ending, Executions
from orchestrator.temporal.labels import ViewLabel

# How long a cancel waits for the query to have stopped before it answers that it has not yet.
CANCEL_WAIT = timedelta(seconds=8)
_START_TRIES = 5


class Execution:
    """The runs of every view."""

    def __init__(self, database: Database, executions: Executions, links: Links) -> None:
        self._database = database
        self._executions = executions
        self._links = links

    async def start(self, view: SavedQuery, trigger: Trigger, user: User, *, full_refresh: bool = False) -> bool:
        """Start a run and record it, so that whoever asks next sees it. False if one was in progress already.

        The journal tells of it, unless materializing the view, of which it tells anyway, made it start.

        One that has published or failed, and whose workflow is only about to end, is not in progress: whoever saw it
        end and asks for another means another. Raises StillEnding if it does not end.
        """
        label = ViewLabel(project_id=view.project_id, name=view.name)
        request = RunRequest(saved_query_id=view.id, label=str(label), trigger=trigger, full_refresh=full_refresh)
        why = "to materialize it for the first time" if trigger is Trigger.FIRST else "to refresh it now"
        details = f"Started by {code(user.email)} over the API, {why}.\n\n{self._links.view(view.project_id, view.id)}"
        for _ in range(_START_TRIES):
            started = await self._executions.start(request, label, details)
            async with self._database.begin() as tx:
                if not started.joined:
                    await runs.open_run(tx, request, started.workflow_id, started.workflow_run_id)
                    if trigger is not Trigger.FIRST:
                        await journal.note(tx, view, Verb.SYNC_TRIGGERED, user)
                    return True
                status = await runs.status_of(tx, run_id_of(started.workflow_run_id, view.id))
            if status in {None, RunStatus.RUNNING}:
                return False
            if await self._executions.wait_closed(view.id, started.workflow_run_id, CANCEL_WAIT) is None:
                break
        raise StillEnding

    async def in_progress(self, saved_query_id: UUID) -> set[UUID]:
        """The workflow run id of the view's run in progress, if there is one. Also of one that has no row yet."""
        workflow_run_id = await self._executions.open_run(saved_query_id)
        return set() if workflow_run_id is None else {workflow_run_id}

    async def stop(self, saved_query_id: UUID, workflow_run_ids: Collection[UUID]) -> Ending | None:
        """Cancel these runs and wait for their end; how the last of them did. Raises StillStopping.

        The runs are named, so that one which somebody has started since is left alone.
        """
        await asyncio.gather(*(self._executions.cancel(saved_query_id, run) for run in workflow_run_ids))
        ending: Ending | None = None
        for run in workflow_run_ids:
            ending = await self._executions.wait_closed(saved_query_id, run, CANCEL_WAIT)
            if ending is None:
                raise StillStopping
        return ending
