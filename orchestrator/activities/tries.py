"""The steps of a try: begin, write what the edited query gives, and record how the try ended without a result."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from temporalio import activity
from temporalio.exceptions import ApplicationError

from orchestrator.activities.heartbeat import workflow_ids
from orchestrator.activities.progress import ProgressReporter, report_progress, report_trouble
from orchestrator.activities.write import (
    LOST,
    MOST_ATTEMPTS,
    WriteActivities,
    error_to_report,
    location_of_attempt,
)
from orchestrator.catalog import projects, reads, tries
from orchestrator.catalog.database import Database
from orchestrator.catalog.tries import ClaimedTry
from orchestrator.model.edit_try import EditTry, TryBegun, TryEnd, TryRequest, TryStatus
from orchestrator.model.errors import RunSuperseded, Transient, WorkerBusy
from orchestrator.model.limits import Limits
from orchestrator.model.snapshot import Snapshot, location_of, shortened
from orchestrator.model.urls import ApiUrls
from orchestrator.temporal import contract
from orchestrator.temporal.run_page import inputs_of


@dataclass(frozen=True)
class TryActivities:
    """The steps, and their dependencies. `limits` and `query_timeout` hold for projects that have none of their own."""

    database: Database
    writing: WriteActivities
    urls: ApiUrls
    limits: Limits
    query_timeout: timedelta

    @activity.defn(name=contract.BEGIN_TRY)
    async def begin_try(self, request: TryRequest) -> TryBegun:
        """Record that the try runs, with the limits of a run. Raises RunSuperseded if it was ended before."""
        _, workflow_run_id = workflow_ids()
        async with self.database.begin() as tx:
            plan = await tries.begin(tx, request.try_id, workflow_run_id)
            if plan is None:
                raise RunSuperseded
            own = await projects.get_limits(tx, request.project_id)
            seconds = own.timeout_seconds or self.query_timeout.total_seconds()
            plan = plan.model_copy(update={"timeout_seconds": seconds, "limits": own.over(self.limits)})
            await tries.set_plan(tx, request.try_id, plan)
        url = self.urls.view(plan.project_id, plan.saved_query_id)
        page = inputs_of(plan, url, activity.info().namespace)
        return TryBegun(name=plan.name, timeout_seconds=plan.timeout_seconds, page=page)

    @activity.defn(name=contract.WRITE_TRY)
    async def write_try(self, request: TryRequest) -> TryEnd:
        """Run the edited query into sealed files that only the try has. See WriteActivities.write_snapshot."""
        async with self.database.begin() as tx:
            claimed = await tries.claim(tx, request.try_id)
            found = None if claimed else await tries.load(tx, request.try_id)
        if claimed is None:
            if found is None or found.snapshot is None:
                raise RunSuperseded
            return _ready(found.snapshot)  # an earlier call has recorded it, whose answer was lost
        if claimed.attempt > MOST_ATTEMPTS:
            raise ApplicationError(LOST, type=contract.UNEXPECTED_ERROR, non_retryable=True)
        for earlier in range(1, claimed.attempt):
            await self.writing.discard(location_of_attempt(claimed.plan, earlier))
        try:
            async with report_progress(request.try_id) as progress:
                return await self._try(claimed, progress)
        except BaseException as error:
            reported = error_to_report(error, claimed.attempt)
            if reported is not error:
                raise reported from error
            if isinstance(error, Transient):
                await report_trouble(request.try_id, error)
            raise

    @activity.defn(name=contract.CLOSE_TRY)
    async def close_try(self, end: TryEnd) -> TryEnd:
        """Record how a try ended, and remove what it wrote; returns how it has ended.

        It may be Ready: a cancel at the same moment can lose the answer of `write_try`, but the result is there.
        """
        async with self.database.begin() as tx:
            found = await tries.close(tx, end)
            await reads.end(tx, end.try_id)
        if found is None:
            return end
        if found.status is TryStatus.READY and found.snapshot is not None:
            return _ready(found.snapshot)
        for attempt in range(1, found.attempt + 1):
            await self.writing.discard(_location(found, attempt))
        return TryEnd(try_id=found.id, status=found.status, error=found.error, error_code=found.error_code)

    async def _try(self, claimed: ClaimedTry, progress: ProgressReporter) -> TryEnd:
        location = location_of_attempt(claimed.plan, claimed.attempt)
        try:
            snapshot, _ = await self.writing.write_files(claimed.plan, claimed.attempt, progress)
        except BaseException as error:
            # Shielded: a cancel may come twice.
            await asyncio.shield(self.writing.discard(location))
            if isinstance(error, WorkerBusy):
                await self._give_back(claimed.plan.run_id, claimed.attempt)
            raise
        snapshot = snapshot.model_copy(update={"inputs": shortened(snapshot.inputs)})
        async with self.database.begin() as tx:
            is_recorded = await tries.record(tx, snapshot)
            if is_recorded:
                await reads.end(tx, claimed.plan.run_id)
        if not is_recorded:
            await asyncio.shield(self.writing.discard(location))
            raise RunSuperseded
        return _ready(snapshot)

    async def _give_back(self, try_id: UUID, attempt: int) -> None:
        async with self.database.single() as tx:
            await tries.release_attempt(tx, try_id, attempt)


def _ready(snapshot: Snapshot) -> TryEnd:
    return TryEnd(try_id=snapshot.run_id, status=TryStatus.READY, rows=snapshot.rows, bytes=snapshot.bytes)


def _location(found: EditTry, attempt: int) -> str:
    return location_of(found.project_id, found.saved_query_id, found.id, attempt)
