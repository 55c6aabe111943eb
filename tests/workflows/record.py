"""Record the histories that `test_replay.py` replays and that do not exist yet, from real runs on their own stacks."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import psycopg
from temporalio.client import Client, WorkflowFailureError

from orchestrator.temporal import contract
from tests.acceptance.test_failures import LONG
from tests.support.tenants import ENDLESS, a_tenant, dev_stack, until
from tests.support.webhook_receiver import SECRET, Receiver
from tests.workflows.record_copies import record_copies
from tests.workflows.record_generations import GenerationRecorder
from tests.workflows.record_tries import TryRecorder
from tests.workflows.recorder import HISTORIES, Recorder


async def main() -> None:
    """Run every kind of run once, and save its history from Temporal."""
    folder = Path(tempfile.mkdtemp(prefix="mv-record-"))
    HISTORIES.mkdir(exist_ok=True)
    sources = folder / "sources"
    sources.mkdir()
    try:
        async with dev_stack(folder / "home", sources) as stack, a_tenant(stack) as tenant, a_tenant(stack) as other:
            client = await Client.connect(stack.info["temporal_address"])
            await RunRecorder(tenant, client).record(lambda: stack.kill("worker"))
            await GenerationRecorder(other, client).record(sources, lambda: stack.kill("worker"))
            await TryRecorder(other, client).record(lambda: stack.kill("worker"))
        receiver = Receiver()
        receiver.open()
        os.environ |= {"MATVIEW_WEBHOOK_URL": receiver.url, "MATVIEW_WEBHOOK_SECRET": SECRET}
        async with dev_stack(folder / "notifying") as stack, a_tenant(stack) as tenant, a_tenant(stack) as other:
            client = await Client.connect(stack.info["temporal_address"])
            await RunRecorder(tenant, client).record_notices(receiver)
            await GenerationRecorder(other, client).record_notices()
        await record_copies(folder)
    finally:
        shutil.rmtree(folder)


class RunRecorder(Recorder):
    """Runs views and saves their histories."""

    async def record(self, kill_worker: Callable[[], None]) -> None:
        """Record the histories of all runs and ticks without a webhook."""
        good = await self.tenant.materialized("good", "SELECT now() AS n")
        await self.save("run-completed", contract.run_workflow_id(UUID(good["id"])))
        same = await self.tenant.materialized("same", "SELECT 1 AS n")
        await self.tenant.act(same["id"], "run", {})
        await self.tenant.ended(same["id"], runs=2)
        await self.save("run-skipped", contract.run_workflow_id(UUID(same["id"])))
        await self.tick("tick-completed", good["id"], runs=2)
        bad = await self.tenant.materialized("bad", "SELECT error('always') AS n")
        await self.save("run-failed", contract.run_workflow_id(UUID(bad["id"])))
        await self.tick("tick-failed", bad["id"], runs=2)
        await self._cancelled()
        await self._cancelled_too_late(good["id"])
        await self._not_begun()
        await self.save("reconciled", contract.RECONCILE_ID)
        retried = await self.tenant.create_view("retried", LONG)
        await self.tenant.act(retried["id"], "materialize")
        await self.tenant.running(retried["id"])
        kill_worker()
        await self.tenant.ended(retried["id"])
        await self.save("run-retried", contract.run_workflow_id(UUID(retried["id"])))

    async def record_notices(self, receiver: Receiver) -> None:
        """Record the histories of runs that send a webhook event, and of the deliveries."""
        tenant, view_id = self.tenant, (await self.tenant.create_view("v", "SELECT error('always') AS n"))["id"]
        await tenant.act(view_id, "materialize")
        await self._notified(view_id, 1, "run-failed-notified", "run.failed", "notice-delivered")
        await self._edit(view_id, "SELECT 1 AS n")
        receiver.answer(500)
        await tenant.act(view_id, "run")
        await self._notified(view_id, 2, "run-recovered-notified", "run.recovered", "notice-retried")
        await self._edit(view_id, "SELECT error('again') AS n")
        receiver.answer(410)
        await tenant.act(view_id, "run")
        await self._notified(view_id, 3, None, "run.failed", "notice-refused")

    async def _edit(self, view_id: str, sql: str) -> None:
        change = {"query": {"query": sql}, "soft_update": True}
        await self.tenant.call("PATCH", f"/warehouse_saved_queries/{view_id}/", change)

    async def _notified(self, view_id: str, runs: int, name: str | None, event: str, notice: str) -> None:
        """Save the history of the newest run, and that of the delivery of its event."""
        run = await self.tenant.ended(view_id, runs)
        for history, workflow_id in (
            (name, contract.run_workflow_id(UUID(view_id))),
            (notice, contract.notice_workflow_id(run["id"], event)),
        ):
            handle = self.client.get_workflow_handle(workflow_id)
            with suppress(WorkflowFailureError):
                await handle.result()
            if history is not None:
                await self.save(history, workflow_id)

    async def _cancelled(self) -> None:
        tenant = self.tenant
        view = await tenant.create_view("endless", ENDLESS)
        view_id = view["id"]
        await tenant.act(view_id, "materialize")
        await tenant.act(view_id, "cancel")
        await self.save("run-cancelled-at-once", contract.run_workflow_id(UUID(view_id)))
        await tenant.act(view_id, "run")
        await tenant.running(view_id)
        await self.tick("tick-skipped", view_id, runs=None)
        await tenant.act(view_id, "cancel")
        await self.save("run-cancelled", contract.run_workflow_id(UUID(view_id)))

        async def cancel_run() -> None:
            await tenant.running(view_id)
            await tenant.act(view_id, "cancel")

        async def cancel_tick() -> None:
            await tenant.running(view_id)
            await self.client.get_workflow_handle(await self.newest_tick(view_id)).cancel()

        await self.tick("tick-run-cancelled", view_id, runs=3, during=cancel_run)
        await self.tick("tick-cancelled", view_id, runs=4, during=cancel_tick)

    async def _cancelled_too_late(self, view_id: str) -> None:
        """Record a cancel that comes while the result is being published, which a lock of this process makes slow."""
        tenant, workflow_id = self.tenant, contract.run_workflow_id(UUID(view_id))
        files = len(tenant.files({"id": view_id}))

        async def sealed() -> bool:
            return len(tenant.files({"id": view_id})) > files

        async with await psycopg.AsyncConnection.connect(tenant.database_url) as connection:
            # It holds up the insertion of a version, and nothing else that a run does.
            await connection.execute("LOCK TABLE snapshots IN SHARE MODE")
            await tenant.act(view_id, "run")
            await until(sealed, "files that are not published yet")
            await self.client.get_workflow_handle(workflow_id).cancel()
            await asyncio.sleep(1)
        await tenant.ended(view_id)
        await self.save("run-cancelled-too-late", workflow_id)

    async def _not_begun(self) -> None:
        """Record a run of a view that is not materialized, started by hand."""
        view_id = UUID((await self.tenant.create_view("plain", "SELECT 1 AS n"))["id"])
        handle = await self.client.start_workflow(
            contract.REFRESH,
            {"saved_query_id": str(view_id)},
            id=contract.run_workflow_id(view_id),
            task_queue=contract.TASK_QUEUE,
        )
        with suppress(WorkflowFailureError):
            await handle.result()
        await self.save("run-not-begun", handle.id)


if __name__ == "__main__":
    asyncio.run(main())
