"""The steps of a try: begin, write what each member gives, and record how those ended that have no result."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from temporalio import activity

from orchestrator.activities.heartbeat import workflow_ids
from orchestrator.activities.write import WriteActivities
from orchestrator.catalog import projects, source_pins, try_attempts
from orchestrator.catalog.database import Database
from orchestrator.model.edit_try import EditTry, TryBegun, TryEnd, TryRequest, TryStatus
from orchestrator.model.errors import RunSuperseded
from orchestrator.model.generation import RepinRequest
from orchestrator.model.limits import Limits
from orchestrator.model.snapshot import location_of
from orchestrator.model.urls import ApiUrls
from orchestrator.services.attempts import Attempts
from orchestrator.services.member_plans import member_plans, readers_of_table
from orchestrator.temporal import contract
from orchestrator.temporal.run_page import inputs_of

# A client may have promoted it by the time that a lost answer is asked for again.
_WITH_RESULT = {TryStatus.READY, TryStatus.PROMOTED}


@dataclass(frozen=True)
class TryActivities:
    """The steps, and their dependencies. `limits` and `query_timeout` hold for projects that have none of their own."""

    database: Database
    writing: WriteActivities
    attempts: Attempts
    urls: ApiUrls
    limits: Limits
    query_timeout: timedelta

    @activity.defn(name=contract.BEGIN_TRY)
    async def begin_try(self, request: TryRequest) -> TryBegun:
        """Record that the try runs, with the limits of a run. Raises RunSuperseded if it was ended before."""
        _, workflow_run_id = workflow_ids()
        async with self.database.begin() as tx:
            own = await projects.get_limits(tx, request.project_id)
            seconds = own.timeout_seconds or self.query_timeout.total_seconds()
            limits = own.over(self.limits)
            stored = await try_attempts.begin(tx, request.try_id, workflow_run_id, seconds, limits)
        edited = next((one.plan for one in stored if one.plan.run_id == request.try_id), None)
        if edited is None:
            raise RunSuperseded
        url = self.urls.view(edited.project_id, edited.saved_query_id)
        page = inputs_of(edited, url, activity.info().namespace)
        return TryBegun(name=edited.name, timeout_seconds=seconds, page=page, members=member_plans(stored))

    @activity.defn(name=contract.WRITE_TRY)
    async def write_try(self, request: TryRequest) -> TryEnd:
        """Run the query of a member into sealed files that only the try has. See WriteActivities.write_snapshot."""
        written = await self.writing.write(request.try_id, self.attempts)
        return TryEnd(try_id=request.try_id, status=TryStatus.READY, rows=written.rows, bytes=written.bytes)

    @activity.defn(name=contract.REPIN_TRY)
    async def repin_try(self, request: RepinRequest) -> tuple[UUID, ...]:
        """Forget the pin of a source table and what was written from it; returns the members that are to run again."""
        async with self.database.begin() as tx:
            stored = await try_attempts.load_all(tx, request.generation_id)
            await source_pins.give_up(tx, request.generation_id, request.table_id, request.round)
            again = readers_of_table([one.plan for one in stored], request.table_id)
            await try_attempts.reset(tx, request.generation_id, again)
        return tuple(sorted(again))

    @activity.defn(name=contract.CLOSE_TRY)
    async def close_try(self, end: TryEnd) -> TryEnd:
        """Record how members ended, and remove what they wrote; returns how they have ended.

        One may be Ready: a cancel at the same moment can lose the answer of `write_try`, but the result is there.
        """
        async with self.database.begin() as tx:
            found = await try_attempts.close(tx, [end, *end.others])
        for one in found:
            if one.status not in _WITH_RESULT:
                for attempt in range(1, one.attempt + 1):
                    location = location_of(one.project_id, one.saved_query_id, one.id, attempt)
                    await self.writing.discard(location)
        ends = {one.id: _end(one) for one in found}
        others = tuple(ends.get(one.try_id, one) for one in end.others)
        return ends.get(end.try_id, end).model_copy(update={"others": others})


def _end(found: EditTry) -> TryEnd:
    ready = found.snapshot if found.status in _WITH_RESULT else None
    return TryEnd(
        try_id=found.id,
        status=found.status if ready is None else TryStatus.READY,
        error=found.error,
        error_code=found.error_code,
        rows=ready.rows if ready else None,
        bytes=ready.bytes if ready else None,
    )
