"""Assembles the telemetry of a worker, so that the worker module does not know its parts."""

from collections.abc import Callable
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from orchestrator.engines.base import QueryAndCheckRunner
from orchestrator.model.limits import Limits
from orchestrator.model.run import Run
from orchestrator.telemetry.activities import TelemetryInterceptor
from orchestrator.telemetry.engine import InstrumentedEngine, QueryMetrics
from orchestrator.telemetry.instruments import WorkerMetrics
from orchestrator.telemetry.runs import RunCounter

_MIB = 1 << 20


class InstrumentedWorker(NamedTuple):
    """The engine of a worker's activities, their callback at the end of a run, and their interceptor."""

    engine: InstrumentedEngine
    on_run_finished: Callable[[Run], None]
    interceptor: TelemetryInterceptor


class WorkerTelemetry:
    """Counts in `registry`, or nothing without one; log lines carry their ids either way.

    `memory_mb` is the memory that all queries of the worker may use together, in MiB.
    """

    def __init__(self, registry: CollectorRegistry | None, *, memory_mb: int) -> None:
        self._metrics = None if registry is None else WorkerMetrics(registry)
        if self._metrics is not None:
            self._metrics.memory.set(memory_mb * _MIB)

    def instrument(self, engine: QueryAndCheckRunner, limits: Limits) -> InstrumentedWorker:
        """Instrument an engine and its activities. `limits` hold for queries whose plan has none of its own."""
        if self._metrics is None:
            return InstrumentedWorker(InstrumentedEngine(engine), lambda _: None, TelemetryInterceptor())
        counter = RunCounter(self._metrics)
        metered = InstrumentedEngine(engine, QueryMetrics(self._metrics, limits))
        return InstrumentedWorker(metered, counter.ended, TelemetryInterceptor(counter))
