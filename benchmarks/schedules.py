"""Measures how thousands of schedules are created, listed, paused and resumed, beside Temporal's server alone.

No worker is started, and the views are written into the catalog with completed runs. So the API creates a schedule for
each, as for any view that is materialized, but starts no first run, which would otherwise be most of the work.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

from temporalio.client import Client

from benchmarks.common import Api, Measurement, at_once, say, show, timed
from benchmarks.seed_catalog import fill
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.roles import ROLES
from orchestrator.devstack.stack import DevStack
from orchestrator.model.saved_query import SyncFrequency
from orchestrator.model.schedule import DesiredSchedule
from orchestrator.temporal import contract
from orchestrator.temporal.client import connect
from orchestrator.temporal.schedule_spec import new_schedule, view_ref
from orchestrator.temporal.schedules import Schedules
from orchestrator.temporal.search_attributes import view_attributes

_AT_ONCE = 8
_LISTS = 5
_NOTE = "Paused by a measurement."
_FREQUENCY = SyncFrequency.HOUR_24


async def measure(folder: Path, rounds: int, views: int) -> list[Measurement]:
    """Measure everything, on a new stack for each round."""
    found: dict[str, list[float]] = {}
    for number in range(rounds):
        stack = DevStack(folder / f"home-{number}", bootstrap=bootstrap, say=say, roles=[ROLES[0]])
        async with stack:
            temporal = await connect(stack.info["temporal_address"], None)
            ids = await fill(stack.info["database_url"], int(stack.info["project_id"]), views)
            server, product = Bare(temporal, views), Ours(Api(stack), Schedules(temporal), ids)
            # The server becomes slower as it fills, so each of the two is first in every other round.
            for part in (server, product) if number % 2 else (product, server):
                for name, seconds in (await part.measure()).items():
                    found.setdefault(name, []).extend(seconds)
    figures = [Measurement(f"{name}, {views:,}", found[name]) for name in sorted(found)]
    show(f"{views:,} schedules", figures)
    say(f"{_AT_ONCE} calls at a time. There is no call that pauses several: that is a person in the Temporal UI.")
    return figures


class Ours:
    """The product, through its API. Only pauses are made in Temporal, as operators do."""

    def __init__(self, api: Api, schedules: Schedules, ids: Sequence[str]) -> None:
        self._api, self._schedules, self._ids = api, schedules, ids

    async def measure(self) -> dict[str, list[float]]:
        """The seconds of each action."""
        create = await timed(lambda: at_once(_AT_ONCE, self._materialize, self._ids))
        await self._until(lambda paused: len(paused) >= len(self._ids))
        lists = [await timed(self._schedules.list_all) for _ in range(_LISTS)]
        pause = await timed(lambda: at_once(_AT_ONCE, self._pause, self._ids))
        await self._until(lambda paused: all(paused[one] for one in self._ids))
        resume = await timed(self._resume)
        await self._until(lambda paused: not any(paused[one] for one in self._ids))
        return {
            "create, product": [create],
            "list": lists,
            "pause, product": [pause],
            "resume, product (one call)": [resume],
        }

    async def _materialize(self, view_id: str) -> object:
        return await self._api.call("POST", f"/warehouse_saved_queries/{view_id}/materialize/")

    async def _pause(self, view_id: str) -> object:
        return await self._schedules.pause(UUID(view_id), _NOTE)

    async def _resume(self) -> object:
        answer = await self._api.call(
            "POST", "/warehouse_saved_queries/resume_schedules/", {"view_ids": list(self._ids)}
        )
        if len(answer["resumed"]) != len(self._ids):
            raise RuntimeError(f"only {len(answer['resumed'])} of {len(self._ids)} schedules were resumed")
        return answer

    async def _until(self, stand: Callable[[dict[str, bool]], bool]) -> None:
        """Wait until a list of the schedules shows it. A list may lag, which would fall into the next measurement."""
        while True:
            listed = await self._schedules.list_all()
            if stand({str(view): one.paused for view, one in listed.items()}):
                return
            await asyncio.sleep(0.1)


class Bare:
    """Temporal's server alone: the same schedules, created by its own client and deleted afterwards."""

    def __init__(self, client: Client, count: int) -> None:
        self._client = client
        self._desired = [
            DesiredSchedule(saved_query_id=uuid4(), project_id=1, name=f"bare_{n}", frequency=_FREQUENCY)
            for n in range(count)
        ]

    async def measure(self) -> dict[str, list[float]]:
        """The seconds of each action."""
        works = {"create": self._create, "pause": self._pause, "resume": self._unpause, "delete": self._delete}
        return {
            f"{name}, Temporal alone": [await timed(partial(at_once, _AT_ONCE, work, self._desired))]
            for name, work in works.items()
        }

    async def _create(self, desired: DesiredSchedule) -> None:
        schedule, attributes = new_schedule(desired, labelled=True), view_attributes(view_ref(desired))
        await self._client.create_schedule(_id(desired), schedule, search_attributes=attributes)

    async def _pause(self, desired: DesiredSchedule) -> None:
        await self._client.get_schedule_handle(_id(desired)).pause(note=_NOTE)

    async def _unpause(self, desired: DesiredSchedule) -> None:
        await self._client.get_schedule_handle(_id(desired)).unpause()

    async def _delete(self, desired: DesiredSchedule) -> None:
        await self._client.get_schedule_handle(_id(desired)).delete()


def _id(desired: DesiredSchedule) -> str:
    return contract.schedule_id(desired.saved_query_id)
