"""Records the histories of tries of edits."""

from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from temporalio.client import WorkflowFailureError

from orchestrator.temporal import contract
from tests.acceptance.test_failures import LONG
from tests.support.tenants import ENDLESS, Json, until
from tests.workflows.recorder import Recorder


class TryRecorder(Recorder):
    """Tries edits and saves the histories of their workflows."""

    async def record(self, kill_worker: Callable[[], None]) -> None:
        """Record every way in which a try ends."""
        view = await self.tenant.materialized("tried", "SELECT 1 AS n")
        await self._ended("try-ready", await self._started(view, "SELECT 2 AS n"))
        await self._ended("try-failed", await self._started(view, "SELECT error('always') AS n"))
        endless = await self._started(view, ENDLESS)
        await self._working(view, endless)
        await self.tenant.call("DELETE", f"/warehouse_saved_queries/{view['id']}/tries/{endless}/", expect=204)
        await self._ended("try-cancelled", endless)
        long = await self._started(view, LONG)
        await self._working(view, long)
        kill_worker()
        await self._ended("try-retried", long)

    async def _started(self, view: Json, sql: str) -> str:
        url = f"/warehouse_saved_queries/{view['id']}/try/"
        return str((await self.tenant.call("POST", url, {"query": {"query": sql}}, expect=202))["id"])

    async def _working(self, view: Json, try_id: str) -> None:
        """Wait until the query writes."""
        folder = self.tenant.data_dir / "staging" / str(self.tenant.project_id) / view["id"]

        async def is_staged() -> bool:
            return any(folder.glob(f"{try_id}-*"))

        await until(is_staged, "the query of the try")

    async def _ended(self, name: str, try_id: str) -> None:
        workflow_id = contract.try_workflow_id(UUID(try_id))
        with suppress(WorkflowFailureError):
            await self.client.get_workflow_handle(workflow_id).result()
        await self.save(name, workflow_id)
