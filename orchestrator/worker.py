"""The worker: polls Temporal, orchestrates runs, and runs their queries."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import httpx
from temporalio.client import Client
from temporalio.worker import Interceptor, UnsandboxedWorkflowRunner, Worker

from orchestrator.activities.begin import BeginActivities
from orchestrator.activities.check_tables import TableCheckActivities
from orchestrator.activities.copy_tables import TableCopyActivities
from orchestrator.activities.finish import FinishActivities
from orchestrator.activities.reconcile import ReconcileActivities
from orchestrator.activities.ticks import TickActivities
from orchestrator.activities.tries import TryActivities
from orchestrator.activities.webhooks import WebhookActivities
from orchestrator.activities.write import WriteActivities
from orchestrator.activities.write_several import WriteSeveralActivities
from orchestrator.container import Container, open_container
from orchestrator.model.errors import TemporalUnavailable
from orchestrator.model.run import Run
from orchestrator.services.attempts import RunAttempts
from orchestrator.services.change_detection import ChangeDetector
from orchestrator.services.pinned_sources import PinnedSources
from orchestrator.services.planning import Planner
from orchestrator.services.table_copies import TableCopies
from orchestrator.services.ticks import Ticks
from orchestrator.services.try_attempts import TryAttempts
from orchestrator.settings import Settings
from orchestrator.telemetry import tracing
from orchestrator.telemetry.activities import labelled
from orchestrator.telemetry.engine import InstrumentedEngine
from orchestrator.telemetry.metrics_server import new_registry, serve_metrics
from orchestrator.telemetry.worker import WorkerTelemetry
from orchestrator.temporal import contract
from orchestrator.temporal.attribute_registration import register_attributes
from orchestrator.temporal.error_interceptor import ErrorInterceptor
from orchestrator.temporal.reconciler_schedule import ensure_reconciler_schedule, start_reconciler
from orchestrator.workflows.deliver_notice import DeliverNotice
from orchestrator.workflows.reconcile import Reconcile
from orchestrator.workflows.refresh import RefreshViews
from orchestrator.workflows.scheduled_tick import ScheduledTick
from orchestrator.workflows.try_edit import TryEdit

logger = logging.getLogger(__name__)

WORKFLOWS = [RefreshViews, Reconcile, ScheduledTick, DeliverNotice, TryEdit]

# If the server does not push a cancel, it reaches a query with the answer to a heartbeat: so late may one be sent.
_HEARTBEAT_THROTTLE = timedelta(milliseconds=200)
# After this time another worker takes over the workflows that a killed worker had cached. The SDK's default is ten
# seconds.
_STICKY_TIMEOUT = timedelta(seconds=2)
_DELIVERIES_AT_ONCE = 10


class RefreshActivities(NamedTuple):
    """The steps of a generation, and those of a try."""

    begin: BeginActivities
    write: WriteActivities
    several: WriteSeveralActivities
    finish: FinishActivities
    ticks: TickActivities
    tries: TryActivities
    tables: TableCheckActivities
    copies: TableCopyActivities


def build_worker(client: Client, activities: RefreshActivities, interceptor: Interceptor, *, slots: int) -> Worker:
    """A worker for every workflow and activity of the program. It takes as many queries at a time as it has `slots`."""
    return Worker(
        client,
        task_queue=contract.TASK_QUEUE,
        workflows=WORKFLOWS,
        activities=[
            activities.begin.begin,
            activities.begin.repin,
            activities.write.write_snapshot,
            activities.several.write_snapshots,
            activities.tables.check_table,
            activities.copies.copy_tables,
            activities.finish.publish,
            activities.finish.close,
            activities.finish.summarize,
            activities.ticks.gather,
            activities.ticks.outcome,
            activities.ticks.leave,
            activities.ticks.release,
            activities.tries.begin_try,
            activities.tries.write_try,
            activities.tries.repin_try,
            activities.tries.close_try,
        ],
        # A sandbox would load the workflow's modules again for each run, which took a third of all that a worker does
        # beside queries. The tests replay every recorded history in one: see tests/workflows/sandbox.py.
        workflow_runner=UnsandboxedWorkflowRunner(),
        interceptors=[ErrorInterceptor(), interceptor],
        max_concurrent_activities=slots,
        max_heartbeat_throttle_interval=_HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=_HEARTBEAT_THROTTLE,
        sticky_queue_schedule_to_start_timeout=_STICKY_TIMEOUT,
    )


def build_reconciler_worker(client: Client, activities: ReconcileActivities, interceptor: Interceptor) -> Worker:
    """A worker for the reconciler's activity."""
    return Worker(
        client,
        task_queue=contract.RECONCILER_QUEUE,
        activities=[activities.reconcile],
        interceptors=[ErrorInterceptor(), interceptor],
        max_concurrent_activities=1,
    )


@asynccontextmanager
async def delivering(
    client: Client, url: str | None, secret: str | None, interceptor: Interceptor
) -> AsyncIterator[None]:
    """Deliver webhook events within the context, if there is a webhook; without one they wait until they expire."""
    if url is None or secret is None:
        yield
        return
    async with httpx.AsyncClient() as http:
        deliverer = Worker(
            client,
            task_queue=contract.NOTICE_QUEUE,
            activities=[WebhookActivities(http=http, url=url, secret=secret).deliver_notice],
            interceptors=[ErrorInterceptor(), interceptor],
            max_concurrent_activities=_DELIVERIES_AT_ONCE,
        )
        async with deliverer:
            yield


async def _register(client: Client) -> None:
    """Register the search attributes, where that is allowed; nothing depends on them."""
    try:
        await register_attributes(client)
    except TemporalUnavailable as error:
        logger.warning("search attributes cannot be registered: %s", error.message)


@contextmanager
def _shown_ready(file: Path | None) -> Iterator[None]:
    """Have the file there within the context."""
    if file is None:
        yield
        return
    file.touch()
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
    """Work until `stop` is set. Waits for a Temporal server that is not there yet.

    A query that runs when the worker stops is ended and started again by another worker.
    """
    tracing.set_up_tracing("matview-worker", settings.traces_file)
    registry = new_registry(metrics=settings.metrics_port is not None)
    telemetry = WorkerTelemetry(registry, memory_mb=settings.worker_memory_mb)
    if settings.ready_file is not None:
        # The folder may outlive a worker that was killed: that of a pod does.
        settings.ready_file.unlink(missing_ok=True)
    async with serve_metrics(registry, settings.metrics_host, settings.metrics_port):
        while not stop.is_set():
            try:
                await _work(settings, telemetry, stop)
            except TemporalUnavailable:
                logger.warning("Temporal does not answer at %s; trying again", settings.temporal_address)
                await asyncio.sleep(1)


def _activities(
    container: Container, engine: InstrumentedEngine, on_run_finished: Callable[[Run], None]
) -> RefreshActivities:
    database, store, settings = container.database, container.store, container.settings
    detector = ChangeDetector(database, store, container.engine.version)
    sources = PinnedSources(database, container.source_lister)
    planner = Planner(
        database=database,
        sync=container.run_sync,
        detector=detector,
        sources=sources,
        limits=settings.limits,
        query_timeout=settings.query_timeout,
    )
    write = WriteActivities(database, RunAttempts(database), engine, store, detector, sources)
    return RefreshActivities(
        begin=BeginActivities(database, planner, container.urls),
        write=write,
        several=WriteSeveralActivities(write, labelled),
        finish=FinishActivities(
            database, container.analyzer, store, container.policy, container.current, on_run_finished
        ),
        ticks=TickActivities(Ticks(database, container.workflows)),
        tries=TryActivities(
            database, write, TryAttempts(database), container.urls, settings.limits, settings.query_timeout
        ),
        tables=TableCheckActivities(database, engine, store, sources, settings.limits, settings.query_timeout),
        copies=TableCopyActivities(
            TableCopies(database, store, container.analyzer, container.databases, container.credentials, sources)
        ),
    )


async def _work(settings: Settings, telemetry: WorkerTelemetry, stop: asyncio.Event) -> None:
    async with open_container(settings, lazy=False) as container:
        await container.engine.start()
        await container.analyzer.start()
        engine, on_run_finished, interceptor = telemetry.instrument(container.runner, settings.limits)
        activities = _activities(container, engine, on_run_finished)
        worker = build_worker(container.temporal, activities, interceptor, slots=settings.query_slots)
        reconciler = build_reconciler_worker(container.temporal, ReconcileActivities(container.reconciler), interceptor)
        # The objects loaded by now are never freed; each garbage collection would examine them for a tenth of a second.
        gc.freeze()
        gc.enable()
        async with (
            delivering(container.temporal, settings.webhook_url, settings.webhook_secret, interceptor),
            worker,
            reconciler,
        ):
            await _register(container.temporal)
            await ensure_reconciler_schedule(container.temporal, timedelta(seconds=settings.reconcile_seconds))
            await start_reconciler(container.temporal)
            logger.info("polling the task queue %s of namespace %s", contract.TASK_QUEUE, container.temporal.namespace)
            with _shown_ready(settings.ready_file):
                await stop.wait()
