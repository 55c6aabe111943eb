"""Counts the schedules of views in the Temporal server."""

from temporalio.api.workflowservice.v1 import CountSchedulesRequest
from temporalio.client import Client

from orchestrator.model.base import Value
from orchestrator.temporal.client import RPC_TIMEOUT, translate_rpc_errors

# The prefix of every id that contract.schedule_id makes.
_OURS = "ScheduleId STARTS_WITH 'materialize/'"


class ScheduleCounts(Value):
    """The number of views' schedules, and how many of them are paused. The server's counts may be a moment late."""

    present: int
    paused: int


async def count_schedules(client: Client) -> ScheduleCounts:
    """Have the server count the schedules. Raises TemporalUnavailable."""
    return ScheduleCounts(
        present=await _count(client, _OURS), paused=await _count(client, f"{_OURS} AND TemporalSchedulePaused = true")
    )


async def _count(client: Client, query: str) -> int:
    request = CountSchedulesRequest(namespace=client.namespace, query=query)
    with translate_rpc_errors():
        answer = await client.workflow_service.count_schedules(request, timeout=RPC_TIMEOUT)
    return int(answer.count)
