"""The steps of a schedule's tick."""

from dataclasses import dataclass

from temporalio import activity

from orchestrator.model.generation import GenerationRequest
from orchestrator.model.tick import Gathered, Tick
from orchestrator.model.webhook_event import ClosedRun
from orchestrator.services.ticks import Ticks
from orchestrator.temporal import contract


@dataclass(frozen=True)
class TickActivities:
    """The steps of ticks, and the one with which a generation ends those that follow it."""

    ticks: Ticks

    @activity.defn(name=contract.GATHER)
    async def gather(self, tick: Tick) -> Gathered:
        """See Ticks."""
        return await self.ticks.gather(tick)

    @activity.defn(name=contract.TICK_OUTCOME)
    async def outcome(self, tick: Tick) -> ClosedRun | None:
        """See Ticks."""
        return await self.ticks.outcome(tick)

    @activity.defn(name=contract.LEAVE)
    async def leave(self, tick: Tick) -> None:
        """See Ticks."""
        await self.ticks.leave(tick)

    @activity.defn(name=contract.RELEASE_TICKS)
    async def release(self, request: GenerationRequest) -> None:
        """See Ticks."""
        await self.ticks.release(request.generation_id)
