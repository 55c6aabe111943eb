"""The composition root: creates the parts that every process needs; all other code receives its dependencies."""

import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from temporalio.client import Client

from orchestrator.catalog.database import Database
from orchestrator.engines.base import ClusterAnalyzer, ClusterProbe, QueryRunner
from orchestrator.engines.by_plan import EngineOfPlan
from orchestrator.engines.duckdb.analyzer import DuckDBAnalyzer
from orchestrator.engines.duckdb.engine import DuckDBEngine
from orchestrator.engines.duckdb.reader import DuckDBReader
from orchestrator.engines.duckdb.source_file_lister import SourceFileLister
from orchestrator.engines.spark.shared_folder import SharedFolder
from orchestrator.model.cluster_files import ClusterFiles
from orchestrator.model.database_tables import DatabaseServers
from orchestrator.model.remote_files import RemoteFiles
from orchestrator.model.urls import ApiUrls
from orchestrator.reconciliation.current import CurrentLinks
from orchestrator.reconciliation.failure_policy import FailurePolicy
from orchestrator.reconciliation.files import FileReconciler
from orchestrator.reconciliation.reconciler import Reconciler
from orchestrator.reconciliation.runs import RunReconciler, RunSync
from orchestrator.reconciliation.schedules import ScheduleReconciler, ScheduleSync
from orchestrator.reconciliation.tries import TryReconciler
from orchestrator.remote_sources.locations import S3Defaults
from orchestrator.services.access import AccessService
from orchestrator.services.annotations import AnnotationService
from orchestrator.services.change_plans import ChangePlanner
from orchestrator.services.change_writes import ChangeWriter
from orchestrator.services.changes import ChangeService
from orchestrator.services.checks import CheckService
from orchestrator.services.column_binding import ColumnBinder
from orchestrator.services.conditions import ConditionService
from orchestrator.services.copied_tables import CopiedTables
from orchestrator.services.definitions import DefinitionService
from orchestrator.services.diffs import DiffService
from orchestrator.services.encryption import Encryptor
from orchestrator.services.generation_start import GenerationStart
from orchestrator.services.generations import GenerationService
from orchestrator.services.health import HealthService
from orchestrator.services.iceberg import IcebergService
from orchestrator.services.lineage import LineageService
from orchestrator.services.live import LiveService
from orchestrator.services.materialization import Materialization
from orchestrator.services.reader_guard import ReaderGuard
from orchestrator.services.reading import ReadService
from orchestrator.services.resuming import ScheduleResumption
from orchestrator.services.runs import RunService
from orchestrator.services.services import Services
from orchestrator.services.sessions import SessionService
from orchestrator.services.snapshots import SnapshotService
from orchestrator.services.source_tables import SourceTableService
from orchestrator.services.table_credentials import CredentialedTables, TableCredentials
from orchestrator.services.tries import TryService
from orchestrator.services.unit_tests import UnitTester
from orchestrator.services.view_board import ViewBoardService
from orchestrator.services.view_states import ViewStates
from orchestrator.services.views import ViewService
from orchestrator.settings import PREFIX, Settings, SettingsError
from orchestrator.stores.base import SnapshotStore
from orchestrator.stores.local import LocalStore
from orchestrator.telemetry import tracing
from orchestrator.temporal.client import connect
from orchestrator.temporal.reconciler_schedule import start_reconciler
from orchestrator.temporal.run_workflows import RunWorkflows
from orchestrator.temporal.schedules import Schedules
from orchestrator.temporal.try_workflows import TryWorkflows

if TYPE_CHECKING:
    from orchestrator.remote_sources.databases.servers import Databases
    from orchestrator.remote_sources.objects import RemoteObjects


@dataclass(frozen=True)
class Container:
    """The parts of a running process."""

    settings: Settings
    database: Database
    temporal: Client
    source_lister: SourceFileLister
    credentials: TableCredentials
    databases: DatabaseServers | None
    analyzer: DuckDBAnalyzer
    engine: DuckDBEngine
    runner: EngineOfPlan
    reader: DuckDBReader
    cluster: ClusterProbe | None
    store: SnapshotStore
    schedules: Schedules
    workflows: RunWorkflows
    urls: ApiUrls
    policy: FailurePolicy
    run_sync: RunSync
    current: CurrentLinks
    reconciler: Reconciler
    services: Services


@asynccontextmanager
async def open_container(settings: Settings, *, lazy: bool) -> AsyncIterator[Container]:
    """All parts, closed at the end of the context. `lazy` does not wait for Temporal to answer.

    Raises TemporalUnavailable, unless `lazy`, if Temporal does not answer.
    """
    temporal = await connect(
        settings.temporal_address, settings.temporal_namespace, lazy=lazy, plugins=tracing.plugins()
    )
    database = Database(settings.database_url)
    temp_dir = (settings.data_dir / "tmp").absolute()
    credentials = TableCredentials(database, Encryptor(settings.secret_key))
    servers = _open_servers(settings)
    databases = _open_databases(settings)
    store, remote_files, cluster_files = _open_store(settings)
    remote_tables = None
    if servers is not None or databases is not None:
        remote_tables = CredentialedTables(servers, credentials, CopiedTables(database, store, remote_files))
    source_lister = SourceFileLister(settings.source_roots, [*settings.private_paths, temp_dir], remote_tables)
    analyzer = DuckDBAnalyzer(source_lister, limits=settings.limits, databases=databases)
    engine = DuckDBEngine(
        source_lister,
        limits=settings.limits,
        worker_memory_mb=settings.worker_memory_mb,
        temp_dir=temp_dir,
        max_queries=settings.max_concurrent_queries,
        slots=settings.query_slots,
        remote_files=remote_files,
    )
    reader = DuckDBReader(
        source_roots=settings.source_roots,
        private=settings.private_paths,
        temp_dir=settings.read_temp_dir or temp_dir,
        queries=settings.concurrent_reads,
        of_project=settings.concurrent_reads_per_project,
        remote_files=remote_files,
        remote_tables=remote_tables,
    )
    cluster = _open_cluster(settings, analyzer, engine, cluster_files)
    access = AccessService(database)
    reading = ReadService(
        database,
        store,
        reader,
        limits=settings.read_limits,
        seconds=settings.read_timeout_seconds,
        retention=settings.retention,
    )
    parts = (
        database,
        credentials,
        databases,
        temporal,
        source_lister,
        analyzer,
        engine,
        reader,
        store,
        access,
        reading,
        cluster,
    )
    container = _assemble(settings, *parts)
    try:
        yield container
    finally:
        await container.services.live.close()
        await container.services.view_board.close()
        await container.services.conditions.close()
        await reading.close()
        await reader.close()
        cluster.close()
        await engine.close()
        await analyzer.close()
        await source_lister.close()
        if servers is not None:
            await servers.close()
        if databases is not None:
            databases.close()
        await access.close()
        await database.close()


def _open_store(settings: Settings) -> tuple[SnapshotStore, RemoteFiles | None, ClusterFiles]:
    """The store of results, how processes of queries read in it if it is on no disk, and how a cluster uses it.

    Raises SettingsError if the object store cannot be opened.
    """
    if settings.store is None:
        return LocalStore(settings.data_dir), None, SharedFolder()
    try:
        from orchestrator.stores.cluster_objects import ClusterObjects  # noqa: PLC0415 - an extra
        from orchestrator.stores.objects import ObjectSnapshotStore, open_objects  # noqa: PLC0415 - an extra
    except ImportError:
        raise SettingsError(f"{PREFIX}STORE: an object store needs matview[objects]") from None
    temp_dir = settings.read_temp_dir or settings.data_dir / "tmp"
    try:
        objects = open_objects(settings.store, settings.store_options)
    except ValueError as error:
        raise SettingsError(f"{PREFIX}STORE: {error}") from None
    store = ObjectSnapshotStore(objects, settings.data_dir, temp_dir, url=settings.store)
    return store, store, ClusterObjects(objects, settings.store)


def _open_servers(settings: Settings) -> "RemoteObjects | None":
    """The servers that remote files of source tables are read from. None if their library is not installed."""
    try:
        from orchestrator.remote_sources.objects import RemoteObjects  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return RemoteObjects(settings.source_urls, S3Defaults(settings.source_endpoint, settings.source_region))


def _open_databases(settings: Settings) -> "Databases | None":
    """The databases that source tables are copied from. None if their drivers are not installed."""
    try:
        from orchestrator.remote_sources.databases.servers import Databases  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return Databases(settings.source_databases, settings.source_copy_mb)


class Cluster(NamedTuple):
    """The parts for views that run on a Spark cluster; None where none is configured."""

    analyzer: ClusterAnalyzer | None = None
    engine: QueryRunner | None = None
    probe: ClusterProbe | None = None
    close: Callable[[], None] = lambda: None


def _open_cluster(settings: Settings, analyzer: DuckDBAnalyzer, duckdb: DuckDBEngine, files: ClusterFiles) -> Cluster:
    """The cluster of the settings. It is not asked for anything yet. Raises SettingsError if the extra is missing."""
    if settings.spark_remote is None:
        return Cluster()
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)  # unused here
    try:
        from orchestrator.engines.spark.analyzer import SparkAnalyzer  # noqa: PLC0415 - an extra
        from orchestrator.engines.spark.engine import SparkEngine  # noqa: PLC0415 - an extra
        from orchestrator.engines.spark.probe import SparkProbe  # noqa: PLC0415 - an extra
        from orchestrator.engines.spark.sessions import Sessions  # noqa: PLC0415 - an extra
    except ImportError:
        raise SettingsError(f"{PREFIX}SPARK_REMOTE: a Spark cluster needs matview[spark]") from None
    sessions = Sessions(settings.spark_remote, most=2 * settings.spark_queries + 2)
    of_cluster = SparkAnalyzer(sessions, analyzer, settings.spark_projects)
    engine = SparkEngine(
        sessions,
        analyzer,
        of_cluster,
        duckdb,
        files,
        limits=settings.limits,
        most=settings.spark_queries,
        slots=settings.query_slots,
        projects=settings.spark_projects,
    )

    def close() -> None:
        engine.close()
        sessions.close()

    return Cluster(of_cluster, engine, SparkProbe(sessions, files), close)


def _assemble(  # noqa: PLR0917 - in the order in which they are created
    settings: Settings,
    database: Database,
    credentials: TableCredentials,
    databases: DatabaseServers | None,
    temporal: Client,
    source_lister: SourceFileLister,
    analyzer: DuckDBAnalyzer,
    engine: DuckDBEngine,
    reader: DuckDBReader,
    store: SnapshotStore,
    access: AccessService,
    reading: ReadService,
    cluster: Cluster,
) -> Container:
    schedules, workflows, try_workflows = Schedules(temporal), RunWorkflows(temporal), TryWorkflows(temporal)
    urls = ApiUrls(settings.api_url)
    policy = FailurePolicy(database, schedules, notifies=settings.webhook_url is not None)
    current = CurrentLinks(database, store, partial(start_reconciler, temporal))
    schedule_sync, run_sync = ScheduleSync(database, schedules), RunSync(database, workflows)
    planner = ChangePlanner(database, analyzer, ColumnBinder(analyzer, cluster.analyzer), credentials, cluster.analyzer)
    guard = ReaderGuard(database, planner)
    definitions = DefinitionService(database, analyzer, guard, cluster.analyzer)
    states = ViewStates(definitions, schedules, run_sync)
    runs = RunService(
        database=database,
        definitions=definitions,
        states=states,
        workflows=workflows,
        run_sync=run_sync,
        generation_start=(generation_start := GenerationStart(database, workflows)),
        urls=urls,
    )
    resumption = ScheduleResumption(database, schedules)
    views = ViewService(
        definitions=definitions,
        materialization=Materialization(database, analyzer),
        states=states,
        runs=runs,
        schedules=schedules,
        sync=schedule_sync,
        resumption=resumption,
        current=current,
    )
    generations = GenerationService(database=database, workflows=workflows, runs=runs, start=generation_start)
    conditions = ConditionService(database, schedules)
    return Container(
        settings=settings,
        database=database,
        temporal=temporal,
        source_lister=source_lister,
        credentials=credentials,
        databases=databases,
        analyzer=analyzer,
        engine=engine,
        runner=EngineOfPlan(engine, cluster.engine),
        reader=reader,
        cluster=cluster.probe,
        store=store,
        schedules=schedules,
        workflows=workflows,
        urls=urls,
        policy=policy,
        run_sync=run_sync,
        current=current,
        reconciler=Reconciler(
            RunReconciler(database, workflows, run_sync, policy),
            ScheduleReconciler(database, schedules, schedule_sync),
            TryReconciler(database, workflows, try_workflows),
            FileReconciler(database, store, settings.retention),
            current,
        ),
        services=Services(
            access=access,
            sessions=(sessions := SessionService(database, access)),
            definitions=definitions,
            views=views,
            runs=runs,
            changes=ChangeService(
                database=database,
                planner=planner,
                writer=ChangeWriter(database),
                schedule_sync=schedule_sync,
                resumption=resumption,
                workflows=workflows,
                runs=runs,
                generations=generations,
                current=current,
            ),
            generations=generations,
            snapshots=SnapshotService(
                database=database,
                store=store,
                engine=analyzer,
                states=states,
                runs=runs,
                schedules=schedules,
                workflows=workflows,
                current=current,
            ),
            source_tables=SourceTableService(database, analyzer, credentials, guard),
            health=HealthService(database, workflows),
            lineage=LineageService(database, analyzer),
            annotations=AnnotationService(database),
            conditions=conditions,
            view_board=(view_board := ViewBoardService(database, conditions)),
            live=LiveService(database, view_board, sessions),
            reading=reading,
            diffs=DiffService(database, store, reading),
            tries=TryService(
                database=database,
                engine=analyzer,
                cluster=cluster.analyzer,
                definitions=definitions,
                views=views,
                reading=reading,
                workflows=try_workflows,
                current=current,
            ),
            iceberg=IcebergService(database, store, settings.shared_data_url or settings.store),
            checks=CheckService(database, analyzer, reading),
            unit_tests=UnitTester(planner, reading),
        ),
    )
