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
        await self._with_members()

    async def _with_members(self) -> None:
        """Record tries of an edit with the views that read the edited one."""
        view = await self.tenant.materialized("tried_with", "SELECT 1 AS n, 2 AS m")
        reader = await self.tenant.materialized("tried_reader", "SELECT n FROM tried_with")
        await self.tenant.materialized("tried_below", "SELECT n FROM tried_reader")
        await self.tenant.materialized("tried_other", "SELECT m FROM tried_with")
        await self._ended("try-members", await self._started(view, "SELECT 3 AS n, 4 AS m", descendants=True))
        await self._ended("try-members-failed", await self._started(view, "SELECT 4 AS m", descendants=True))
        body = {"query": {"query": f"SELECT tried_with.n FROM tried_with, ({ENDLESS})"}, "soft_update": True}
        await self.tenant.call("PATCH", f"/warehouse_saved_queries/{reader['id']}/", body)
        endless = await self._started(view, "SELECT 3 AS n, 4 AS m", descendants=True)
        await self._working(reader, "*")
        await self.client.get_workflow_handle(contract.try_workflow_id(UUID(endless))).cancel()
        await self._ended("try-members-cancelled", endless)

    async def _started(self, view: Json, sql: str, *, descendants: bool = False) -> str:
        url = f"/warehouse_saved_queries/{view['id']}/try/"
        edit = {"query": {"query": sql}, "descendants": descendants}
        return str((await self.tenant.call("POST", url, edit, expect=202))["id"])

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
