"""What a worker is watched with: put together here, so that the worker itself need not know how."""

from collections.abc import Callable
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from orchestrator.engines.base import Engine
from orchestrator.model.limits import Limits
from orchestrator.model.run import Run
from orchestrator.telemetry.activities import TelemetryInterceptor
from orchestrator.telemetry.instruments import WorkerMetrics
from orchestrator.telemetry.queries import QueryMeter, WatchedEngine
from orchestrator.telemetry.runs import RunCounter

_MIB = 1 << 20


class Watch(NamedTuple):
    """The engine to give to a worker's activities, whom they tell of a run's end, and what to put around them."""

    engine: Engine
    on_end: Callable[[Run], None]
    interceptor: TelemetryInterceptor


class Watcher:
    """Counts in `registry`, or nothing without one; what is logged carries its ids either way.

    `memory_mb` is what the queries of the worker may use together, in MiB.
    """

    def __init__(self, registry: CollectorRegistry | None, *, memory_mb: int) -> None:
        self._metrics = None if registry is None else WorkerMetrics(registry)
        if self._metrics is not None:
            self._metrics.memory.set(memory_mb * _MIB)

    def watch(self, engine: Engine, limits: Limits) -> Watch:
        """Watch an engine and the activities that use it. `limits` are those of queries that have none of their own."""
        if self._metrics is None:
            return Watch(WatchedEngine(engine), lambda _: None, TelemetryInterceptor())
        counter = RunCounter(self._metrics)
        metered = WatchedEngine(engine, QueryMeter(self._metrics, limits))
        return Watch(metered, counter.ended, TelemetryInterceptor(counter))
