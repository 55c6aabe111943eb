"""All services of a process, as the API receives them."""

from dataclasses import dataclass

from orchestrator.services.access import AccessService
from orchestrator.services.annotations import AnnotationService
from orchestrator.services.changes import ChangeService
from orchestrator.services.checks import CheckService
from orchestrator.services.conditions import ConditionService
from orchestrator.services.definitions import DefinitionService
from orchestrator.services.diffs import DiffService
from orchestrator.services.generations import GenerationService
from orchestrator.services.health import HealthService
from orchestrator.services.iceberg import IcebergService
from orchestrator.services.lineage import LineageService
from orchestrator.services.live import LiveService
from orchestrator.services.reading import ReadService
from orchestrator.services.runs import RunService
from orchestrator.services.sessions import SessionService
from orchestrator.services.snapshots import SnapshotService
from orchestrator.services.source_tables import SourceTableService
from orchestrator.services.tries import TryService
from orchestrator.services.unit_tests import UnitTester
from orchestrator.services.view_board import ViewBoardService
from orchestrator.services.views import ViewService


@dataclass(frozen=True)
class Services:
    """One service a subject."""

    access: AccessService
    sessions: SessionService
    definitions: DefinitionService
    changes: ChangeService
    views: ViewService
    runs: RunService
    generations: GenerationService
    snapshots: SnapshotService
    source_tables: SourceTableService
    health: HealthService
    lineage: LineageService
    annotations: AnnotationService
    conditions: ConditionService
    view_board: ViewBoardService
    live: LiveService
    reading: ReadService
    diffs: DiffService
    tries: TryService
    iceberg: IcebergService
    checks: CheckService
    unit_tests: UnitTester
