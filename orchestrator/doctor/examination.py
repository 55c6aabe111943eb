"""All checks of one installation, put together from its parts."""

from orchestrator.assembly import Assembly, assemble
from orchestrator.doctor.machine import Machine
from orchestrator.doctor.report import Check, Found, Line, Report, Verdict, examine, well
from orchestrator.doctor.servers import Catalog, Orchestration
from orchestrator.settings import Settings
from orchestrator.temporal.server import Server


async def examination(settings: Settings, origin: str) -> Report:
    """Look at everything that these settings name; `origin` says where they come from. Nothing is changed."""
    async with assemble(settings, lazy=True) as parts:
        return await examine(_checks(parts, origin))


def misconfigured(problem: str) -> Report:
    """What is to be said when there are no settings to look with."""
    advice = "set it in the environment or in .env, as .env.example shows; or name the folder of `matview dev`: --home"
    return Report(lines=(Line(check="settings", verdict=Verdict.FAIL, told=problem, advice=advice),))


def _checks(parts: Assembly, origin: str) -> list[Check]:
    async def settings() -> Found:
        return well(f"from {origin}")

    machine = Machine(parts.settings, parts.store, parts.engine.layers)
    catalog = Catalog(parts.database, parts.store)
    server = Server(parts.temporal)
    orchestration = Orchestration(parts.settings, server, parts.database, parts.reconciliation)
    return [Check("settings", settings, ""), *machine.checks(), *catalog.checks(), *orchestration.checks()]
