"""Saves the histories of workflows as files that `test_replay.py` replays."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from temporalio.client import Client, WorkflowFailureError

from orchestrator.temporal import contract
from tests.support.tenants import Tenant, until

HISTORIES = Path(__file__).parent / "histories"


class Recorder:
    """Saves the histories of one project's runs and ticks."""

    def __init__(self, tenant: Tenant, client: Client) -> None:
        self.tenant = tenant
        self.client = client

    async def save(self, name: str, workflow_id: str) -> None:
        """Wait for the end of a workflow, and save its history if there is none of that name yet.

        An existing one was recorded by older code, and must not change.
        """
        path, handle = HISTORIES / f"{name}.json", self.client.get_workflow_handle(workflow_id)
        with suppress(WorkflowFailureError):
            await handle.result()
        if path.exists():
            return
        history = await handle.fetch_history()
        cleaned = without_traces(json.loads(history.to_json()))
        path.write_text(json.dumps(cleaned, indent=1) + "\n")

    async def tick(
        self,
        name: str,
        view_id: str,
        *,
        runs: int | None,
        during: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Save the history of a tick of the view's schedule, once the view has that many ended runs."""
        before = await self._ticks(view_id)
        await self.client.get_schedule_handle(contract.schedule_id(UUID(view_id))).trigger()

        async def started() -> bool:
            return len(await self._ticks(view_id)) > len(before)

        await until(started, "a tick")
        if during is not None:
            await during()
        if runs is not None:
            await self.tenant.ended(view_id, runs)
        tick = await self.newest_tick(view_id)

        async def over() -> bool:
            return (await self.client.get_workflow_handle(tick).describe()).close_time is not None

        await until(over, "the tick to end")
        await self.save(name, tick)
        await asyncio.sleep(1)  # two ticks within one second would share a workflow id

    async def newest_tick(self, view_id: str) -> str:
        return max(await self._ticks(view_id))

    async def _ticks(self, view_id: str) -> list[str]:
        query = f"WorkflowType = '{contract.SCHEDULED_TICK}' AND TemporalScheduledById = 'materialize/{view_id}'"
        return [execution.id async for execution in self.client.list_workflows(query)]


def without_traces(recorded: object) -> object:
    """The same history without the fields that only describe the machine that it was recorded on."""
    if isinstance(recorded, list):
        return [without_traces(item) for item in recorded]
    if isinstance(recorded, dict):
        machine = {"stackTrace", "identity"}
        return {key: without_traces(value) for key, value in recorded.items() if key not in machine}
    return recorded
