"""A try of an edit: run the edited query into a version that only the try has."""

import asyncio
from uuid import UUID

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from orchestrator.activities.tries import TryActivities
    from orchestrator.model.edit_try import TryBegun, TryEnd, TryRequest, TryStatus
    from orchestrator.model.run import Progress, RunStatus
    from orchestrator.temporal import contract
    from orchestrator.temporal.run_page import render_try, running
    from orchestrator.workflows import steps
    from orchestrator.workflows.endings import ended, is_cancelled

_STATUS = SearchAttributeKey.for_keyword(contract.STATUS_ATTRIBUTE)


@workflow.defn(name=contract.TRY_EDIT, failure_exception_types=[Exception])
class TryEdit:
    """One try."""

    @workflow.init
    def __init__(self, request: TryRequest) -> None:
        """A try that has not begun."""
        self._request = request
        self._begun: TryBegun | None = None
        self._headline = "Begins"
        self._message: str | None = None

    @workflow.update(name=contract.PROGRESS)
    def progress(self, progress: Progress) -> None:
        """Show the progress of the query on the page of the try in the Temporal UI."""
        if self._message is None:
            self._show(running(progress))

    @workflow.run
    async def run(self, request: TryRequest) -> TryEnd:
        """Run to the end."""
        self._show(self._headline)
        try:
            self._begun = await workflow.execute_local_activity_method(
                TryActivities.begin_try, request, summary="Look up the limits", **steps.CATALOG_STEP_OPTIONS
            )
            self._show(running(None))
            end = await steps.write_try(request, self._begun)
        except (Exception, asyncio.CancelledError) as error:
            end = await self._close(error)
            if end.status is not TryStatus.READY:
                raise self._failure(end) from error
        self._set_final(end.status, f"{end.rows or 0:,} rows")
        return end

    async def _close(self, error: BaseException) -> TryEnd:
        run = ended(UUID(int=0), error)
        status = TryStatus.CANCELLED if is_cancelled(error) else TryStatus.FAILED
        end = TryEnd(try_id=self._request.try_id, status=status, error=run.error, error_code=run.error_code)
        return await steps.uninterruptible(
            workflow.execute_local_activity_method(
                TryActivities.close_try, end, summary="Record how it ended", **steps.CATALOG_STEP_OPTIONS
            )
        )

    def _failure(self, end: TryEnd) -> BaseException:
        self._set_final(end.status, end.error or "It was cancelled.")
        if end.status is TryStatus.CANCELLED:
            return asyncio.CancelledError()
        return ApplicationError(end.error or "The try failed.", type=end.error_code, non_retryable=True)

    def _set_final(self, status: TryStatus, message: str) -> None:
        self._message = message
        self._show(status)
        if workflow.info().typed_search_attributes.get(_STATUS) is not None:
            shown = RunStatus.COMPLETED if status is TryStatus.READY else status
            workflow.upsert_search_attributes([_STATUS.value_set(shown)])

    def _show(self, headline: str) -> None:
        more = self._begun.page if self._begun else ""
        workflow.set_current_details(render_try(headline, self._message, more))
