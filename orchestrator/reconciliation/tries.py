"""Ends tries that nothing will end: expired ones, and those whose workflow is over."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from orchestrator.catalog import tries, try_attempts
from orchestrator.catalog.database import Database
from orchestrator.model.edit_try import EditTry, TryEnd, TryStatus
from orchestrator.model.findings import Finding, FindingKind
from orchestrator.temporal import contract
from orchestrator.temporal.run_workflows import RunWorkflows
from orchestrator.temporal.try_workflows import TryWorkflows

# The API stores a try before it starts its workflow.
_STARTING = timedelta(minutes=1)
_LOST = "The try was lost: its workflow ended without a result."


@dataclass(frozen=True)
class TryReconciler:
    """Compares tries with Temporal and with the clock. FileReconciler then deletes their files."""

    database: Database
    workflows: RunWorkflows
    tries: TryWorkflows
    starting: timedelta = _STARTING

    async def end(self, dry_run: bool) -> AsyncIterator[Finding]:
        """Remove expired tries, cancel removed ones that run, and close those whose workflow is over."""
        async with self.database.begin() as tx:
            expired = await tries.list_expired(tx)
            if not dry_run:
                for edit in expired:
                    await tries.remove(tx, edit.id)
        for edit in expired:
            yield Finding(kind=FindingKind.TRY_EXPIRED, subject=str(edit.id), message="it has expired; it is removed")
        async with self.database.begin() as tx:
            running = await tries.list_running(tx, self.starting)
        is_open: dict[UUID, bool] = {}
        for edit in running:
            if edit.root not in is_open:
                is_open[edit.root] = await self.workflows.is_open(contract.try_workflow_id(edit.root))
                if is_open[edit.root]:
                    await self._cancel_removed(edit, dry_run=dry_run)
            if is_open[edit.root]:
                continue
            if not dry_run:
                end = TryEnd(try_id=edit.id, status=TryStatus.FAILED, error=_LOST, error_code="run_lost")
                async with self.database.begin() as tx:
                    await try_attempts.close(tx, [end])
            yield Finding(kind=FindingKind.RUN_ENDED, subject=str(edit.id), message="its workflow is over")

    async def _cancel_removed(self, edit: EditTry, *, dry_run: bool) -> None:
        async with self.database.single() as tx:
            is_removed = await tries.is_removed(tx, edit.root)
        if is_removed and not dry_run:
            await self.tries.cancel(edit)
