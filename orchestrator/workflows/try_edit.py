"""A try of an edit: run the edited query, and those of the views that read it, into versions that only the try has."""

import asyncio
from collections.abc import Sequence
from functools import partial
from uuid import UUID

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from orchestrator.model.edit_try import TryBegun, TryEnd, TryRequest, TryStatus
    from orchestrator.model.generation import EndedRun, MemberPhase, MemberPlan, RepinRequest, TableCheckTask
    from orchestrator.model.run import Progress, RunStatus
    from orchestrator.model.webhook_event import ClosedRun
    from orchestrator.temporal import contract
    from orchestrator.temporal.run_page import render_try, running
    from orchestrator.workflows import steps
    from orchestrator.workflows.endings import ended
    from orchestrator.workflows.member_queries import MemberQueries, raise_if_cancelled
    from orchestrator.workflows.members import Members, State
    from orchestrator.workflows.shared_steps import SharedSteps
    from orchestrator.workflows.steps import uninterruptible

_STATUS = SearchAttributeKey.for_keyword(contract.STATUS_ATTRIBUTE)


@workflow.defn(name=contract.TRY_EDIT, failure_exception_types=[Exception])
class TryEdit:
    """One try. Its members are written as those of a generation are, and nothing is published."""

    @workflow.init
    def __init__(self, request: TryRequest) -> None:
        """A try that has not begun."""
        self._request = request
        self._page = ""
        self._headline = "Begins"
        self._message: str | None = None
        self._ends: dict[UUID, TryEnd] = {}
        self._timeout_seconds = 0.0
        self._table_checks = SharedSteps(self._check_table)
        self._hold(Members(()))

    @workflow.update(name=contract.PROGRESS)
    def progress(self, progress: Progress) -> None:
        """Show the progress of a query on the page of the try in the Temporal UI."""
        if progress.run_id is not None and self._queries.is_running(progress.run_id):
            self._queries.progress[progress.run_id] = progress
            self._show()

    @workflow.run
    async def run(self, request: TryRequest) -> TryEnd:
        """Run to the end."""
        self._show()
        failure: BaseException | None = None
        try:
            begun = await steps.begin_try(request)
            self._page, self._headline = begun.page, running(None)
            self._timeout_seconds = begun.timeout_seconds
            members = begun.members or (_only_member(request, begun),)
            self._ends = {one.run_id: _written(one) for one in members if one.phase is MemberPhase.WRITTEN}
            self._hold(Members(members))
            await self._write_all()
            await uninterruptible(self._table_checks.wait())
        except (Exception, asyncio.CancelledError) as error:
            failure = error
            await self._end(error)
        end = self._ends[request.try_id]
        if any(one.status is TryStatus.CANCELLED for one in self._ends.values()):
            end = end.model_copy(update={"status": TryStatus.CANCELLED})
        if end.status is not TryStatus.READY:
            raise self._failure(end) from failure
        self._set_final(end.status, self._result(end))
        return end

    def _hold(self, members: Members) -> None:
        self._members = members
        self._queries = MemberQueries(members, self._request.try_id, self._write, self._repin)

    async def _write_all(self) -> None:
        """Write each member once those that it reads are written, and close those that cannot be."""
        while not self._members.are_written():
            self._queries.start_ready()
            seen = self._members.changes
            self._queries.stop_doomed()
            await self._close(self._members.to_close())
            self._show()
            if seen == self._members.changes:
                await workflow.wait_condition(partial(self._members.have_changed_since, seen))
            raise_if_cancelled()

    async def _repin(self, request: RepinRequest) -> tuple[UUID, ...]:
        again = await steps.repin_try(request)
        self._table_checks.forget()
        return again

    async def _check_table(self, table_id: UUID) -> None:
        request = self._request
        task = TableCheckTask(pinned_by=request.try_id, project_id=request.project_id, table_id=table_id, is_try=True)
        await steps.check_table(task, self._timeout_seconds)

    async def _write(self, member: MemberPlan, _after: Sequence[UUID]) -> bool:
        await self._table_checks.require(member.checked_tables)
        request = TryRequest(try_id=member.run_id, project_id=self._request.project_id)
        self._ends[member.run_id] = await steps.write_try(request, member)
        return True

    async def _close(self, runs: Sequence[EndedRun]) -> None:
        """Record how members ended that have no result."""
        if not runs:
            return
        first, *others = map(_end_of, runs)
        closed = await uninterruptible(steps.close_try(first.model_copy(update={"others": tuple(others)})))
        for end in (closed, *closed.others):
            self._ends[end.try_id] = end.model_copy(update={"others": ()})
            status = RunStatus.COMPLETED if end.status is TryStatus.READY else RunStatus(end.status)
            self._members.end(ClosedRun(run_id=end.try_id, status=status, error=end.error))

    async def _end(self, error: BaseException) -> None:
        """Stop the queries, and close all members that are not written."""
        self._queries.stop_all()
        await uninterruptible(self._queries.wait())
        await uninterruptible(self._table_checks.wait())
        left = [one.run_id for one in self._members.open() if one.state is not State.WRITTEN]
        # The end of the edited view is that of all members, also of those that this workflow does not know yet.
        left = left if len(self._members) else [self._request.try_id]
        await self._close([ended(run_id, error) for run_id in left])

    def _failure(self, end: TryEnd) -> BaseException:
        self._set_final(end.status, end.error or "It was cancelled.")
        if end.status is TryStatus.CANCELLED:
            return asyncio.CancelledError()
        return ApplicationError(end.error or "The try failed.", type=end.error_code, non_retryable=True)

    def _result(self, end: TryEnd) -> str:
        without = sum(one.status is not TryStatus.READY for one in self._ends.values())
        more = f"; {without:,} of {len(self._members):,} views have no result" if without else ""
        return f"{end.rows or 0:,} rows{more}"

    def _set_final(self, status: TryStatus, message: str) -> None:
        self._headline, self._message = status, message
        self._show()
        if workflow.info().typed_search_attributes.get(_STATUS) is not None:
            shown = RunStatus.COMPLETED if status is TryStatus.READY else status
            workflow.upsert_search_attributes([_STATUS.value_set(shown)])

    def _show(self) -> None:
        headline, more = self._headline, self._page
        if len(self._members) > 1:
            more = self._queries.page()
        elif self._message is None:
            headline = next((running(one) for one in self._queries.progress.values()), headline)
        workflow.set_current_details(render_try(headline, self._message, more))


def _only_member(request: TryRequest, begun: TryBegun) -> MemberPlan:
    """The member of a try that a worker of an older release began, which had no others."""
    view = UUID(int=0)  # which the steps of a try do not need
    return MemberPlan(
        run_id=request.try_id, saved_query_id=view, name=begun.name, timeout_seconds=begun.timeout_seconds
    )


def _written(member: MemberPlan) -> TryEnd:
    """The end of a member that was written before an operator reset the workflow."""
    return TryEnd(try_id=member.run_id, status=TryStatus.READY, rows=member.rows, bytes=member.bytes)


def _end_of(run: EndedRun) -> TryEnd:
    error = run.reason if run.status is RunStatus.SKIPPED else run.error
    return TryEnd(try_id=run.run_id, status=TryStatus(run.status), error=error, error_code=run.error_code)
