"""The step that copies the tables of a database that a generation reads, before its queries run."""

from dataclasses import dataclass

from temporalio import activity

from orchestrator.activities.heartbeat import heartbeating
from orchestrator.activities.write import error_to_report
from orchestrator.model.generation import CopyOutcome, CopyTask
from orchestrator.services.table_copies import TableCopies
from orchestrator.temporal import contract

_HEARTBEAT_SECONDS = 0.5


@dataclass(frozen=True)
class TableCopyActivities:
    """The step, and its dependency."""

    copies: TableCopies

    @activity.defn(name=contract.COPY_TABLES)
    async def copy_tables(self, task: CopyTask) -> CopyOutcome:
        """Copy tables into the store and pin the copies. A cancel ends the statement on the database's server."""
        try:
            async with heartbeating(_HEARTBEAT_SECONDS):
                return await self.copies.copy(task)
        except BaseException as error:
            reported = error_to_report(error, activity.info().attempt)
            if reported is not error:
                raise reported from error
            raise
