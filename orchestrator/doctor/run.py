"""Runs all checks of one installation, on the parts of its container."""

from orchestrator.container import Container, open_container
from orchestrator.doctor.cluster import ClusterChecks
from orchestrator.doctor.host import HostChecks
from orchestrator.doctor.postgres import PostgresChecks
from orchestrator.doctor.report import Check, CheckResult, Report, ReportLine, Status, ok, run_checks
from orchestrator.doctor.sources import SourceChecks
from orchestrator.doctor.temporal import TemporalChecks
from orchestrator.settings import Settings
from orchestrator.temporal.diagnostics import ServerInfo


async def run_doctor(settings: Settings, origin: str) -> Report:
    """Check everything that these settings name; `origin` says where they come from. Nothing is changed."""
    async with open_container(settings, lazy=True) as container:
        return await run_checks(_checks(container, origin))


def misconfigured(problem: str) -> Report:
    """The report for settings that cannot be loaded."""
    advice = "set it in the environment or in .env, as .env.example shows; or name the folder of `matview dev`: --home"
    return Report(lines=(ReportLine(check="settings", verdict=Status.FAIL, message=problem, advice=advice),))


def with_stopped_stack(report: Report, advice: str) -> Report:
    """The report of a stack that does not run, which is why its servers do not answer."""
    line = ReportLine(check="stack", verdict=Status.FAIL, message="`matview dev` is not running", advice=advice)
    return Report(lines=(line, *report.lines))


def _checks(container: Container, origin: str) -> list[Check]:
    async def settings() -> CheckResult:
        return ok(f"from {origin}")

    machine = HostChecks(container.settings, container.store, container.analyzer.layers)
    cluster = ClusterChecks(container.cluster, container.store)
    catalog = PostgresChecks(container.database, container.store)
    server = ServerInfo(container.temporal)
    orchestration = TemporalChecks(container.settings, server, container.database, container.reconciler)
    sources = SourceChecks(container.database, container.source_lister, container.settings.source_roots)
    return [
        Check("settings", settings, ""),
        *machine.checks(),
        *cluster.checks(),
        *catalog.checks(),
        *sources.checks(),
        *orchestration.checks(),
    ]
