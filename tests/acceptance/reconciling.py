"""Retention, findings and schedules, as the tests of the reconciler need them."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

from temporalio.client import Client

from orchestrator.model.findings import FindingKind
from orchestrator.model.snapshot import Retention
from orchestrator.temporal.schedules import Schedules
from tests.support.tenants import Json, until

KEEP_ALL = Retention(count=1000, age=timedelta(days=1000), grace=timedelta(0))


Reconcile = Callable[..., Awaitable[set[tuple[FindingKind, str]]]]


def about(view: Json, found: set[tuple[FindingKind, str]]) -> set[FindingKind]:
    return {kind for kind, subject in found if subject == view["id"]}


async def listed(temporal: Client, view_id: str) -> bool:
    """Wait until the server's list, which lags a moment, has the schedule."""
    schedules = Schedules(temporal)

    async def ask() -> bool:
        return UUID(view_id) in await schedules.list_all()

    return await until(ask, "the schedule in the list")
