"""Where the parts that every process needs are put together; everything else is handed what it works with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from temporalio.client import Client

from orchestrator.access import Access
from orchestrator.activities.policy import FailurePolicy
from orchestrator.activities.reconcile import Reconciliation
from orchestrator.catalog.database import Database
from orchestrator.control import Control
from orchestrator.engines.duckdb import DuckDBEngine
from orchestrator.health import Health
from orchestrator.library import Library
from orchestrator.links import Links
from orchestrator.secrets import Secrets
from orchestrator.settings import Settings
from orchestrator.sources import Sources
from orchestrator.stores.base import SnapshotStore
from orchestrator.stores.local import LocalStore
from orchestrator.telemetry import tracing
from orchestrator.temporal.client import connect
from orchestrator.temporal.executions import Executions
from orchestrator.temporal.schedules import Schedules
from orchestrator.versions import Versions


@dataclass(frozen=True)
class Assembly:
    """The parts of a running process."""

    settings: Settings
    database: Database
    temporal: Client
    engine: DuckDBEngine
    store: SnapshotStore
    library: Library
    sources: Sources
    versions: Versions
    control: Control
    schedules: Schedules
    policy: FailurePolicy
    reconciliation: Reconciliation
    access: Access
    health: Health
    links: Links


@asynccontextmanager
async def assemble(settings: Settings, *, lazy: bool) -> AsyncIterator[Assembly]:
    """Everything, for as long as the context lasts. `lazy` does not wait for Temporal to answer.

    Raises TemporalUnavailable if it does not and was waited for.
    """
    temporal = await connect(
        settings.temporal_address, settings.temporal_namespace, lazy=lazy, plugins=tracing.plugins()
    )
    database = Database(settings.database_url)
    engine = DuckDBEngine(
        source_roots=settings.source_roots,
        private=settings.private_paths,
        limits=settings.limits,
        worker_memory_mb=settings.worker_memory_mb,
        temp_dir=settings.data_dir / "tmp",
        max_queries=settings.max_concurrent_queries,
    )
    schedules, executions = Schedules(temporal), Executions(temporal)
    policy = FailurePolicy(database, schedules, notifies=settings.webhook_url is not None)
    store = LocalStore(settings.data_dir)
    links = Links(settings.api_url)
    library, versions = Library(database, engine), Versions(database, store, engine)
    access = Access(database)
    try:
        yield Assembly(
            settings=settings,
            database=database,
            temporal=temporal,
            engine=engine,
            store=store,
            library=library,
            sources=Sources(database, engine, Secrets(settings.secret_key)),
            versions=versions,
            control=Control(database, library, versions, schedules, executions, links=links),
            schedules=schedules,
            policy=policy,
            reconciliation=Reconciliation(database, store, schedules, executions, settings.retention, policy),
            access=access,
            health=Health(database, executions),
            links=links,
        )
    finally:
        await engine.close()
        await access.close()
        await database.close()
