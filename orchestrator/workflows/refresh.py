"""A generation: begin, write each member once its parents are written, and publish what belongs together."""

import asyncio
from collections.abc import Sequence
from functools import partial
from uuid import UUID

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from orchestrator.model.generation import (
        Begun,
        CloseRequest,
        CopyOutcome,
        CopyTask,
        EndedRun,
        GenerationStatus,
        MemberEnd,
        MemberPlan,
        MemberResult,
        PublishRequest,
        RefreshOutcome,
        RefreshRequest,
        RepinRequest,
        TableCheckTask,
    )
    from orchestrator.model.run import Progress, RunOutcome, RunRequest, RunStatus, Trigger, run_id_of
    from orchestrator.model.webhook_event import ClosedRun, ClosedRuns
    from orchestrator.temporal import contract
    from orchestrator.temporal.run_page import render, running
    from orchestrator.workflows import steps
    from orchestrator.workflows.endings import ended as _ended, is_cancelled as _is_cancelled
    from orchestrator.workflows.member_queries import MemberQueries, raise_if_cancelled, raise_if_not_copied
    from orchestrator.workflows.member_writes import MemberWrites
    from orchestrator.workflows.members import Members, State
    from orchestrator.workflows.shared_steps import SharedSteps
    from orchestrator.workflows.steps import uninterruptible

_STATUS = SearchAttributeKey.for_keyword(contract.STATUS_ATTRIBUTE)
_HELD = "A generation of several views refreshes this view already."
# Pauses while other runs hold a member.
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 10.0
# Generations that began before results waited for others publish each component by itself.
_GATHERED = "gathered publications"
# Generations that began before members were written together with their readers start each once its parents are done,
# do not number the activities of several members, and take no cancel of a member before they have begun.
_WITH_READERS = "members with their readers"
# For so long, results that are complete wait for others to be published with, while queries run.
_GATHER_SECONDS = 1.0
# A history may have 50,000 events. A member has some ten, and those in flight are waited for.
_MOST_EVENTS = 8_000


# Without failure_exception_types Temporal would retry the workflow task after an unexpected exception, endlessly, and
# the runs would stay Running.
@workflow.defn(name=contract.REFRESH, failure_exception_types=[Exception])
class RefreshViews:
    """One generation.

    A run of one view is a generation of one. All those of a view have the same workflow id, so the server itself keeps
    two of them apart; that larger ones do not run the view at the same time is seen to by the rows of open runs.
    """

    @workflow.init
    def __init__(self, request: RefreshRequest) -> None:
        """A generation that has not begun."""
        self._request = request
        self._begun: Begun | None = None
        self._hold(Members(()), UUID(int=0))
        self._headline = "Pins its inputs"
        self._message: str | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._gathering: asyncio.Task[None] | None = None
        self._is_due = False
        self._stopped_early: list[UUID] = []
        self._closed_early: ClosedRun | None = None
        self._table_checks = SharedSteps(self._check_table)
        self._copies = SharedSteps(self._copy_tables)

    def _hold(self, members: Members, generation_id: UUID) -> None:
        self._members = members
        self._writes = MemberWrites(self._write_one, self._write_several, partial(workflow.patched, _WITH_READERS))
        self._queries = MemberQueries(members, generation_id, self._write, self._repin)

    @workflow.update(name=contract.PROGRESS)
    def progress(self, progress: Progress) -> None:
        """Show the progress of a query on the generation's page in the Temporal UI.

        An update and not a signal: the server passes ten updates at a time to a run, and two thousand in all. It
        collects signals by the thousand, and handling ten thousand in one workflow task took longer than a task may, so
        the run could not continue.
        """
        if progress.run_id is not None and self._queries.is_running(progress.run_id):
            self._queries.progress[progress.run_id] = progress
            self._show()

    @workflow.update(name=contract.MEMBERS_ENDED)
    def members_ended(self, ends: tuple[MemberEnd, ...]) -> None:
        """Go on with the readers of members that have ended, while their activity writes others."""
        self._writes.take(ends)

    @workflow.update(name=contract.CANCEL_MEMBER)
    async def cancel_member(self, run_id: UUID) -> bool:
        """Cancel one member: its query has ended when this returns. False if it is too late for that."""
        self.stop_member(run_id)
        member = self._members.find(run_id)
        if member is None or member.state is State.PUBLISHING:
            return False
        await workflow.wait_condition(lambda: member.state is State.ENDED)
        return member.outcome is not None and member.outcome.status is RunStatus.CANCELLED

    @workflow.signal(name=contract.STOP_MEMBER)
    def stop_member(self, run_id: UUID) -> None:
        """Cancel one member, and answer nothing. Nothing happens if it is too late for that."""
        if self._begun is None and workflow.patched(_WITH_READERS):
            # Clients see the runs as soon as this generation has stored them, before it compares any versions.
            self._stopped_early.append(run_id)
            return
        member = self._members.find(run_id)
        if member is None or member.state in {State.PUBLISHING, State.ENDED}:
            return
        end = EndedRun(run_id=run_id, status=RunStatus.CANCELLED)
        if self._queries.is_running(run_id):
            member.end = member.end or end
            self._queries.stop(member)
        else:
            self._members.fail(member, end)

    @workflow.run
    async def run(self, request: RefreshRequest) -> RunOutcome | RefreshOutcome:
        """Run to the end. A cancel that comes once publication has begun changes nothing."""
        self._show()
        try:
            begun = await self._begin()
            if isinstance(request, RunRequest) and begun.held_by:
                self._set_final(RunStatus.SKIPPED, _HELD)
                return RunOutcome(status=RunStatus.SKIPPED, detail=_HELD)
            self._begun = begun
            members = Members(begun.members, all_or_nothing=begun.all_or_nothing, unchanged=begun.unchanged)
            self._hold(members, begun.generation_id)
            for run_id in self._stopped_early:
                self.stop_member(run_id)
            await self._refresh(begun)
        except (Exception, asyncio.CancelledError) as error:
            return await self._end(error)
        await uninterruptible(self._table_checks.wait())
        await uninterruptible(self._copies.wait())
        if not self._members.all_ended():
            await workflow.wait_condition(workflow.all_handlers_finished)
            workflow.continue_as_new(request)
        return await self._finish(None)

    async def _begin(self) -> Begun:
        """Begin, once no other run of a member is in progress. A generation of one does not wait for a larger one."""
        pause = _FIRST_WAIT
        while True:
            begun = await steps.begin(self._request)
            if not begun.held_by or isinstance(self._request, RunRequest):
                return begun
            self._headline = f"Waits for {', '.join(begun.held_by[:3])}, which refreshes some of its views"
            self._show()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_WAIT)
            if workflow.info().get_current_history_length() > _MOST_EVENTS:
                workflow.continue_as_new(self._request)

    async def _refresh(self, begun: Begun) -> None:
        """Write and publish all members. Some are left over if the history is long: a further run continues."""
        self._headline = "The queries run" if len(self._members) > 1 else running(None)
        while not self._members.all_ended() or self._publishing is not None:
            is_long = workflow.info().get_current_history_length() > _MOST_EVENTS
            if not is_long:
                self._queries.start_ready(self._writes.may_share_with_readers)
            seen = self._members.changes
            await self._close_failed()
            self._start_publication(begun)
            if (
                is_long
                and not self._queries.are_running()
                and self._publishing is None
                and seen == self._members.changes
            ):
                return
            self._show()
            if seen == self._members.changes:
                await workflow.wait_condition(partial(self._members.have_changed_since, seen))
            raise_if_cancelled()

    async def _close_failed(self) -> None:
        self._queries.stop_doomed()
        closing = self._members.to_close()
        if closing:
            await uninterruptible(self._close(closing))

    def _start_publication(self, begun: Begun) -> None:
        """Publish what belongs together and is complete: at once if no query runs, or else what comes within a second.

        A publication costs as much as a small query, and keeps the workflow from starting queries while it lasts.
        """
        if self._publishing is not None or not self._members.has_publishable():
            return
        if self._queries.are_running() and not self._is_due and workflow.patched(_GATHERED):
            if self._gathering is None:
                self._gathering = asyncio.create_task(self._gather())
            return
        self._is_due = False
        if runs := self._members.take_publishable():
            request = PublishRequest(project_id=begun.project_id, run_ids=runs, all_or_nothing=begun.all_or_nothing)
            self._publishing = asyncio.create_task(self._publish(request))

    async def _gather(self) -> None:
        await asyncio.sleep(_GATHER_SECONDS)
        self._gathering = None
        self._is_due = True
        self._members.changes += 1

    async def _repin(self, request: RepinRequest) -> tuple[UUID, ...]:
        again = await steps.repin(request)
        self._table_checks.forget()
        return again

    async def _check_table(self, table_id: UUID) -> None:
        if self._begun is not None:
            begun = self._begun
            task = TableCheckTask(pinned_by=begun.generation_id, project_id=begun.project_id, table_id=table_id)
            await steps.check_table(task, max(one.timeout_seconds for one in begun.members))

    async def _copy_tables(self, database: str) -> CopyOutcome:
        begun = self._has_begun()
        task = CopyTask(
            generation_id=begun.generation_id,
            project_id=begun.project_id,
            database=database,
            timeout_seconds=max(one.timeout_seconds for one in begun.members),
        )
        return await steps.copy_tables(task)

    async def _write(self, member: MemberPlan, after: Sequence[UUID]) -> bool:
        if member.database_inputs:
            databases = dict.fromkeys(one.database for one in member.database_inputs)
            raise_if_not_copied(member, await self._copies.require(databases))
        await self._table_checks.require(member.checked_tables)
        return (await self._writes.write(member, after)).unchanged is None

    async def _write_one(self, member: MemberPlan) -> MemberResult:
        return await steps.write(self._has_begun(), member)

    async def _write_several(
        self, members: Sequence[tuple[MemberPlan, Sequence[UUID]]], number: int
    ) -> tuple[MemberEnd, ...]:
        return await steps.write_several(self._has_begun(), members, number)

    def _has_begun(self) -> Begun:
        if self._begun is None:
            raise RuntimeError("A member is written before its generation has begun.")
        return self._begun

    async def _publish(self, request: PublishRequest) -> None:
        self._headline = "Publishes its results" if len(self._members) > 1 else "Publishes its result"
        self._show()
        try:
            await self._take_closed(await steps.publish(request))
        except Exception as error:
            for run_id in request.run_ids:
                member = self._members.find(run_id)
                if member is not None:
                    self._members.fail(member, _ended(run_id, error))
        self._publishing = None
        self._members.changes += 1

    async def _close(self, runs: tuple[EndedRun, ...], rest: EndedRun | None = None) -> None:
        await self._take_closed(await steps.close(CloseRequest(request=self._request, runs=runs, rest=rest)))

    async def _take_closed(self, closed: ClosedRuns) -> None:
        for run in closed.runs:
            self._members.end(run)
            self._closed_early = run
        await steps.start_deliveries(closed.notices)

    async def _end(self, error: BaseException) -> RunOutcome | RefreshOutcome:
        """Close all that has not been published, then return the outcome or raise the failure."""
        self._queries.stop_all()
        await uninterruptible(self._wait_for_tasks())
        open_runs = [one.run_id for one in self._members.open()]
        if self._begun is None and isinstance(self._request, RunRequest):
            open_runs = [run_id_of(UUID(workflow.info().run_id), self._request.saved_query_id)]
        if open_runs:
            await uninterruptible(self._close(tuple(_ended(run_id, error) for run_id in open_runs)))
        elif self._begun is None:  # the beginning may have opened runs, and its answer was lost
            await uninterruptible(self._close((), rest=_ended(UUID(int=0), error)))
        return await self._finish(error)

    async def _wait_for_tasks(self) -> None:
        await self._queries.wait()
        await self._table_checks.wait()
        await self._copies.wait()
        if self._publishing is not None:
            await workflow.wait([self._publishing])

    async def _finish(self, error: BaseException | None) -> RunOutcome | RefreshOutcome:
        if isinstance(self._request, RunRequest):
            return self._finish_one(error)
        outcome = await uninterruptible(steps.summarize(self._request))
        self._set_final(outcome.status, _reason_of(error) or outcome.detail)
        if self._request.trigger is Trigger.SCHEDULE:
            await uninterruptible(steps.release_ticks(self._request))
        if outcome.status is GenerationStatus.CANCELLED and _is_cancelled(error):
            raise asyncio.CancelledError from error
        if outcome.status in {GenerationStatus.CANCELLED, GenerationStatus.FAILED}:
            reason = _reason_of(error) or outcome.detail
            raise ApplicationError(reason, type="generation_failed", non_retryable=True) from error
        return outcome

    def _finish_one(self, error: BaseException | None) -> RunOutcome:
        outcome = self._closed_early
        if outcome is None:  # no such view ever existed, so no run could be recorded
            end = _ended(UUID(int=0), error or RuntimeError("The run was not recorded."))
            outcome = ClosedRun(run_id=end.run_id, status=end.status, error=end.error, error_code=end.error_code)
        done = f"{outcome.rows or 0:,} rows, snapshot {outcome.snapshot_id}"
        message = outcome.error or outcome.detail or (done if outcome.status is RunStatus.COMPLETED else None)
        self._set_final(outcome.status, message)
        if outcome.status is RunStatus.CANCELLED:
            raise asyncio.CancelledError from error
        if outcome.status is RunStatus.FAILED:
            failure = outcome.error or "The run failed."
            raise ApplicationError(failure, type=outcome.error_code, non_retryable=True) from error
        return RunOutcome.model_validate(outcome.model_dump(include=set(RunOutcome.model_fields)))

    def _set_final(self, status: RunStatus | GenerationStatus, message: str | None) -> None:
        self._headline, self._message = status, message
        self._show()
        # Only if it was started with it: in a namespace without the attribute, the workflow could not continue.
        if workflow.info().typed_search_attributes.get(_STATUS) is not None:
            workflow.upsert_search_attributes([_STATUS.value_set(status)])

    def _show(self) -> None:
        headline, more = self._headline, self._begun.page if self._begun else ""
        if isinstance(self._request, RunRequest):
            headline = next((running(one) for one in self._queries.progress.values()), headline)
        elif self._begun is not None:
            more = self._queries.page()
        workflow.set_current_details(render(self._request, headline, message=self._message, more=more))


def _reason_of(error: BaseException | None) -> str | None:
    """Why a generation could not begin, for people."""
    return None if error is None or _is_cancelled(error) else _ended(UUID(int=0), error).error
