"""Changing an existing schedule without overwriting what an operator changes at the same moment."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.api.common.v1 import SearchAttributes
from temporalio.api.schedule.v1 import Schedule as ScheduleProto
from temporalio.api.workflowservice.v1 import UpdateScheduleRequest
from temporalio.client import Client
from temporalio.service import RPCError

from orchestrator.temporal.client import RPC_TIMEOUT, is_not_found, translate_rpc_errors

UPDATE_TRIES = 8
CONTENDED = "The schedule is being changed by others at this moment. Try again in a moment."
_FIRST_PAUSE_SECONDS = 0.05


async def replace_schedule(
    client: Client,
    schedule_id: str,
    changed: ScheduleProto,
    conflict_token: bytes,
    attributes: SearchAttributes | None = None,
) -> None:
    """Replace a schedule if it still is as it was when the token was given; None keeps its search attributes.

    The SDK's `update` has no token: it would write back the pause that it read, and undo one that an operator makes in
    between. A server that receives a stale token may drop the change without an error, so callers read the result back.
    """
    with ignore_not_found():
        await client.workflow_service.update_schedule(
            UpdateScheduleRequest(
                namespace=client.namespace,
                schedule_id=schedule_id,
                schedule=changed,
                conflict_token=conflict_token,
                search_attributes=attributes,
                identity=client.identity,
            ),
            timeout=RPC_TIMEOUT,
        )


async def backoff(attempt: int) -> None:
    """Wait before the next attempt, at random: processes that wait equally long would collide again."""
    longest = _FIRST_PAUSE_SECONDS * 2 ** min(attempt, 5)
    await asyncio.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - not used for secrets


@contextmanager
def ignore_not_found() -> Iterator[None]:
    """Ignore that the schedule does not exist: another process may delete it at the same moment."""
    try:
        with translate_rpc_errors():
            yield
    except RPCError as error:
        if not is_not_found(error):
            raise
