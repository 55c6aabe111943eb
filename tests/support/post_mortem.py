"""The load of the machine and the work of a stack, for the report of a test that has failed: most wait for a query."""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client

from orchestrator.devstack.home import DevInfo
from orchestrator.temporal.client import connect

_SECONDS = 10.0
_MOST = 40


async def _open_workflows(client: Client) -> AsyncIterator[str]:
    async for one in client.list_workflows("ExecutionStatus = 'Running'", limit=_MOST):
        found = (await client.get_workflow_handle(one.id, run_id=one.run_id).describe()).raw_description
        yield f"{one.id}: {found.workflow_execution_info.history_length} events"
        if found.HasField("pending_workflow_task"):
            yield f"  a workflow task, attempt {found.pending_workflow_task.attempt}"
        for activity in found.pending_activities:
            state, error = PendingActivityState.Name(activity.state), activity.last_failure.message
            yield f"  {activity.activity_type.name}, attempt {activity.attempt}, {state}: {error}"


async def _described(info: DevInfo) -> str:
    lines = [f"load {os.getloadavg()}, {os.cpu_count()} processors"]
    try:
        async with asyncio.timeout(_SECONDS):
            client = await connect(info["temporal_address"], info["temporal_namespace"])
            lines += [line async for line in _open_workflows(client)]
    except Exception as error:
        lines.append(f"Temporal did not answer: {error!r}")
    return "\n".join(lines)


def describe(info: DevInfo) -> str:
    """The load, and all open workflows of a stack with their pending activities."""
    with ThreadPoolExecutor(1) as thread:  # the loop of the tests stays the current one of this thread
        return thread.submit(asyncio.run, _described(info)).result()
