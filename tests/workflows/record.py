"""Record the histories that `test_replay.py` replays and that do not exist yet, from real runs on their own stacks."""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import psycopg
from temporalio.client import Client, WorkflowFailureError

from orchestrator.temporal import contract
from tests.acceptance.test_failures import LONG
from tests.support.tenants import ENDLESS, Tenant, a_tenant, dev_stack, until
from tests.support.webhook_receiver import SECRET, Receiver

HISTORIES = Path(__file__).parent / "histories"


async def main() -> None:
    """Run every kind of run once, and save its history from Temporal."""
    folder = Path(tempfile.mkdtemp(prefix="mv-record-"))
    HISTORIES.mkdir(exist_ok=True)
    try:
        async with dev_stack(folder / "home") as stack, a_tenant(stack) as tenant:
            client = await Client.connect(stack.info["temporal_address"])
            recorder = Recorder(tenant, client)
            await recorder.record(lambda: stack.kill("worker"))
        receiver = Receiver()
        receiver.open()
        os.environ |= {"MATVIEW_WEBHOOK_URL": receiver.url, "MATVIEW_WEBHOOK_SECRET": SECRET}
        async with dev_stack(folder / "notifying") as stack, a_tenant(stack) as tenant:
            client = await Client.connect(stack.info["temporal_address"])
            await Recorder(tenant, client).record_notices(receiver)
    finally:
        shutil.rmtree(folder)


class Recorder:
    """Runs views and saves their histories."""

    def __init__(self, tenant: Tenant, client: Client) -> None:
        self._tenant = tenant
        self._client = client

    async def record(self, kill_worker: Callable[[], None]) -> None:
        """Record the histories of all runs and ticks without a webhook."""
        good = await self._tenant.materialized("good", "SELECT now() AS n")
        await self._save("run-completed", contract.run_workflow_id(UUID(good["id"])))
        same = await self._tenant.materialized("same", "SELECT 1 AS n")
        await self._tenant.act(same["id"], "run", {})
        await self._tenant.ended(same["id"], runs=2)
        await self._save("run-skipped", contract.run_workflow_id(UUID(same["id"])))
        await self._tick("tick-completed", good["id"], runs=2)
        bad = await self._tenant.materialized("bad", "SELECT error('always') AS n")
        await self._save("run-failed", contract.run_workflow_id(UUID(bad["id"])))
        await self._tick("tick-failed", bad["id"], runs=2)
        await self._cancelled()
        await self._cancelled_too_late(good["id"])
        await self._not_begun()
        await self._save("reconciled", contract.RECONCILE_ID)
        retried = await self._tenant.create_view("retried", LONG)
        await self._tenant.act(retried["id"], "materialize")
        await self._tenant.running(retried["id"])
        kill_worker()
        await self._tenant.ended(retried["id"])
        await self._save("run-retried", contract.run_workflow_id(UUID(retried["id"])))

    async def record_notices(self, receiver: Receiver) -> None:
        """Record the histories of runs that send a webhook event, and of the deliveries."""
        tenant, view_id = self._tenant, (await self._tenant.create_view("v", "SELECT error('always') AS n"))["id"]
        await tenant.act(view_id, "materialize")
        await self._told(view_id, 1, "run-failed-told", "run.failed", "notice-delivered")
        await self._edit(view_id, "SELECT 1 AS n")
        receiver.answer(500)
        await tenant.act(view_id, "run")
        await self._told(view_id, 2, "run-recovered-told", "run.recovered", "notice-retried")
        await self._edit(view_id, "SELECT error('again') AS n")
        receiver.answer(410)
        await tenant.act(view_id, "run")
        await self._told(view_id, 3, None, "run.failed", "notice-refused")

    async def _edit(self, view_id: str, sql: str) -> None:
        change = {"query": {"query": sql}, "soft_update": True}
        await self._tenant.call("PATCH", f"/warehouse_saved_queries/{view_id}/", change)

    async def _told(self, view_id: str, runs: int, name: str | None, event: str, notice: str) -> None:
        """Save the history of the newest run, and that of the delivery of its event."""
        run = await self._tenant.ended(view_id, runs)
        for history, workflow_id in (
            (name, contract.run_workflow_id(UUID(view_id))),
            (notice, contract.notice_workflow_id(run["id"], event)),
        ):
            handle = self._client.get_workflow_handle(workflow_id)
            with suppress(WorkflowFailureError):
                await handle.result()
            if history is not None:
                await self._save(history, workflow_id)

    async def _cancelled(self) -> None:
        tenant = self._tenant
        view = await tenant.create_view("endless", ENDLESS)
        view_id = view["id"]
        await tenant.act(view_id, "materialize")
        await tenant.act(view_id, "cancel")
        await self._save("run-cancelled-at-once", contract.run_workflow_id(UUID(view_id)))
        await tenant.act(view_id, "run")
        await tenant.running(view_id)
        await self._tick("tick-skipped", view_id, runs=None)
        await tenant.act(view_id, "cancel")
        await self._save("run-cancelled", contract.run_workflow_id(UUID(view_id)))

        async def cancel_run() -> None:
            await tenant.running(view_id)
            await tenant.act(view_id, "cancel")

        async def cancel_tick() -> None:
            await tenant.running(view_id)
            await self._client.get_workflow_handle(await self._newest_tick(view_id)).cancel()

        await self._tick("tick-run-cancelled", view_id, runs=3, meanwhile=cancel_run)
        await self._tick("tick-cancelled", view_id, runs=4, meanwhile=cancel_tick)

    async def _cancelled_too_late(self, view_id: str) -> None:
        """Record a cancel that comes while the result is being published, which a lock of this process makes slow."""
        tenant, workflow_id = self._tenant, contract.run_workflow_id(UUID(view_id))
        files = len(tenant.files({"id": view_id}))

        async def sealed() -> bool:
            return len(tenant.files({"id": view_id})) > files

        async with await psycopg.AsyncConnection.connect(tenant.database_url) as connection:
            await tenant.act(view_id, "run")
            await connection.execute("SELECT FROM saved_queries WHERE id = %s FOR NO KEY UPDATE", [view_id])
            await until(sealed, "files that are not published yet")
            await self._client.get_workflow_handle(workflow_id).cancel()
            await asyncio.sleep(1)
        await tenant.ended(view_id)
        await self._save("run-cancelled-too-late", workflow_id)

    async def _not_begun(self) -> None:
        """Record a run of a view that is not materialized, started by hand."""
        view_id = UUID((await self._tenant.create_view("plain", "SELECT 1 AS n"))["id"])
        handle = await self._client.start_workflow(
            contract.MATERIALIZE,
            {"saved_query_id": str(view_id)},
            id=contract.run_workflow_id(view_id),
            task_queue=contract.TASK_QUEUE,
        )
        with suppress(WorkflowFailureError):
            await handle.result()
        await self._save("run-not-begun", handle.id)

    async def _tick(
        self,
        name: str,
        view_id: str,
        *,
        runs: int | None,
        meanwhile: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        before = await self._ticks(view_id)
        await self._client.get_schedule_handle(contract.schedule_id(UUID(view_id))).trigger()

        async def started() -> bool:
            return len(await self._ticks(view_id)) > len(before)

        await until(started, "a tick")
        if meanwhile is not None:
            await meanwhile()
        if runs is not None:
            await self._tenant.ended(view_id, runs)
        tick = await self._newest_tick(view_id)

        async def over() -> bool:
            return (await self._client.get_workflow_handle(tick).describe()).close_time is not None

        await until(over, "the tick to end")
        await self._save(name, tick)
        await asyncio.sleep(1)  # two ticks within one second would share a workflow id

    async def _ticks(self, view_id: str) -> list[str]:
        query = f"WorkflowType = '{contract.SCHEDULED_TICK}' AND TemporalScheduledById = 'materialize/{view_id}'"
        return [execution.id async for execution in self._client.list_workflows(query)]

    async def _newest_tick(self, view_id: str) -> str:
        return max(await self._ticks(view_id))

    async def _save(self, name: str, workflow_id: str) -> None:
        """Save a history that does not exist yet. An existing one was recorded by older code, and must not change."""
        path = HISTORIES / f"{name}.json"
        if path.exists():
            return
        history = await self._client.get_workflow_handle(workflow_id).fetch_history()
        cleaned = without_traces(json.loads(history.to_json()))
        path.write_text(json.dumps(cleaned, indent=1) + "\n")


def without_traces(recorded: object) -> object:
    """The same history without the fields that only describe the machine that it was recorded on."""
    if isinstance(recorded, list):
        return [without_traces(item) for item in recorded]
    if isinstance(recorded, dict):
        machine = {"stackTrace", "identity"}
        return {key: without_traces(value) for key, value in recorded.items() if key not in machine}
    return recorded


if __name__ == "__main__":
    asyncio.run(main())
