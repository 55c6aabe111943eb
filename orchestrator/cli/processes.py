"""`matview dev`, `api`, `worker`, `migrate` and `reconcile`: the program's processes.

Each command imports its modules only when it is called. Importing all of them takes over a second. A command that only
lists views would wait for that, and so would a stack that starts four processes.
"""

import asyncio
import gc
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.examples import FIRST
from orchestrator.cli.installation import (
    DEFAULT_HOME,
    EXIT_USAGE,
    HomeOption,
    folder_of,
    installation,
    nearest_home,
    stack_info,
    state_of,
)
from orchestrator.cli.output import Failure, echo, echo_best_effort, warn
from orchestrator.cli.program import program
from orchestrator.devstack.home import DevInfo, Home, StackError
from orchestrator.model.engine import Engine
from orchestrator.model.printable import one_line
from orchestrator.settings import PREFIX, Settings, SettingsError, load_settings
from orchestrator.telemetry.logs import set_up_logging

_PORT = 8000
# How the errors of servers that are unavailable end. A stack that does not run is not back in a moment.
_TRY_AGAIN = " Try again in a moment."


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (dev, api, worker, migrate, reconcile):
        app.command()(command)


def dev(  # noqa: PLR0917 - options of a command
    home: Annotated[Path, typer.Option(help="Where everything is kept.")] = DEFAULT_HOME,
    port: Annotated[int, typer.Option(help="The API's port; 0 for a free one.")] = _PORT,
    temporal_port: Annotated[int, typer.Option(help="Temporal's port; 0 for a free one.")] = 7233,
    ui_port: Annotated[int, typer.Option(help="The Temporal UI's port; 0 for a free one.")] = 8233,
    source_root: Annotated[
        list[Path] | None, typer.Option(help="A folder that source tables may lie in, beside the current one.")
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="spark runs Sail too, a cluster for views with the engine spark.")
    ] = Engine.DUCKDB,
) -> None:
    """Run everything on this machine: PostgreSQL, Temporal with its UI, the API and a worker. Ctrl-C stops it."""
    # Loading the rest and starting the servers takes seconds.
    above = nearest_home()
    if home == DEFAULT_HOME != above:
        warn(f"note: there is a stack in {folder_of(above)} already; this is another one, for {Path.cwd()} and below")
    if Home(home).owner() is None:
        echo_best_effort(f"Starting PostgreSQL, Temporal, the API and a worker; their state is in {home.absolute()} …")
    from orchestrator.cli.bootstrap import bootstrap
    from orchestrator.devstack.stack import DevStack, Ports

    stack = DevStack(
        home,
        Ports(api=port, temporal=temporal_port, ui=ui_port),
        bootstrap=bootstrap,
        say=echo_best_effort,
        extra_source_roots=source_root or [],
        spark=engine is Engine.SPARK,
    )
    try:
        asyncio.run(
            stack.run_until_stopped(lambda info: _show(info, home), lambda: echo_best_effort("Stopping everything …"))
        )
    except StackError as error:
        if _runs_already(home, port=port, has_roots=bool(source_root)):
            return
        raise Failure(str(error)) from None


def _runs_already(home: Path, *, port: int, has_roots: bool) -> bool:
    """Whether another `matview dev` has this folder; says where it is. Raises Failure if that has other options."""
    pid = Home(home).owner()
    if pid is None or pid == os.getpid():
        return False
    info = stack_info(home)
    where = f"API at {info['api_url']}, project {info['project_id']}" if info and info["pids"] else "it is starting"
    if has_roots or (port not in {0, _PORT} and not (info and info["api_url"].endswith(f":{port}"))):
        raise Failure(f"already running, pid {pid}, {where}; stop it first to start it with other options")
    echo_best_effort(f"already running, pid {pid}, {where}")
    return True


def api() -> None:
    """Run the HTTP API. Configured by the environment."""
    gc.disable()  # until it is ready: to search what is being loaded for garbage takes a sixth of the start
    from api.server import serve

    serve(_settings_of_server())


def worker() -> None:
    """Run a worker. Configured by the environment; start as many as there is work for."""
    gc.disable()  # as above
    settings = _settings_of_server()
    set_up_logging(settings.log_level, settings.log_format, settings.secrets)
    import uvloop

    uvloop.run(_work_until_stopped(settings))


def migrate() -> None:
    """Bring the database's schema up to date. Safe to repeat."""
    from sqlalchemy.exc import OperationalError

    from orchestrator.catalog.migrate import migrate as migrate_catalog

    settings = _settings_of_server()
    try:
        migrate_catalog(settings.database_url)
    except OperationalError as error:
        raise Failure(f"MATVIEW_DATABASE_URL: {str(error.orig).splitlines()[0]}") from None


def reconcile(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    home: HomeOption = None,
) -> None:
    """Compare runs, schedules and files with the catalog, and repair the differences; workers do so regularly."""
    from orchestrator.container import open_container
    from orchestrator.model.errors import CatalogUnavailable, OrchestratorError, TemporalUnavailable
    from orchestrator.model.findings import ReconcileReport, ReconcileRequest

    settings, origin = settings_of(home)

    async def go() -> ReconcileReport:
        async with open_container(settings, lazy=False) as container:
            return await container.reconciler.reconcile(ReconcileRequest(dry_run=dry_run), apply_policy=False)

    try:
        report = asyncio.run(go())
    except (TemporalUnavailable, CatalogUnavailable) as error:
        raise Failure(away(str(error), home, origin)) from None
    except OrchestratorError as error:
        raise Failure(str(error)) from None
    for finding in report.findings:
        echo(one_line(f"{finding.kind}  {finding.subject}  {finding.message}"))
    echo(f"{report.total} found{', nothing changed' if dry_run and report.total else ''}")


async def _work_until_stopped(settings: Settings) -> None:
    from orchestrator.worker import run_worker

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await run_worker(settings, stop)


def checked_settings(**given: str) -> Settings:
    """The settings: those given, and the others from the environment. Raises Failure, in one line, if one is wrong."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        found = load_settings(**given)
        make_url(found.database_url)
    except SettingsError as error:
        raise Failure(str(error), EXIT_USAGE) from None
    except (ArgumentError, ValueError) as error:
        raise Failure(f"MATVIEW_DATABASE_URL: it is not a valid URL: {error}", EXIT_USAGE) from None
    return found


def settings_of(home: Path | None) -> tuple[Settings, str]:
    """The settings of the chosen installation, and the name of their source. Raises Failure."""
    found, origin = installation(home)
    with _pointing_to("or go to the folder of a `matview dev`, or name that by --home", is_set_up=bool(found)):
        return checked_settings(**found), origin


def _settings_of_server() -> Settings:
    """The settings of a server's own process, all from the environment. Raises Failure."""
    with _pointing_to("`matview dev` needs no settings, and runs everything on this machine"):
        return checked_settings()


@contextmanager
def _pointing_to(way: str, *, is_set_up: bool = False) -> Iterator[None]:
    """Have a failure point to another way, where no installation is set up."""
    try:
        yield
    except Failure as failure:
        if is_set_up or f"{PREFIX}DATABASE_URL" in os.environ:
            raise
        raise Failure(f"{failure}; {way}", failure.status) from None


def away(error: str, home: Path | None, origin: str) -> str:
    """The message about a server that does not answer. For that of a stack it says whether the stack runs."""
    found = home or nearest_home()
    if origin != str(found / "dev.json"):
        return error
    return f"{error.removesuffix(_TRY_AGAIN).rstrip('.')}; {state_of(found)}"


_READY = """
Matview is ready.

  Console      {console}
  API          {api_url}   (documentation: {api_url}/docs)
  Temporal UI  {temporal_ui_url}
  API key      {api_key}   (project {project_id})
  State        {home}   (logs, results, databases; details in dev.json)

In another terminal, in this folder:

{typed}

The link to the console signs in once, within an hour; `matview console` prints another one.
Ctrl-C stops everything; the next start finds it again.
"""


def _show(info: DevInfo, home: Path) -> None:
    from orchestrator.cli.console import link_of

    echo_best_effort(
        _READY.format(**info, console=link_of(info), home=home.absolute(), typed=first_example(info, home))
    )


def first_example(info: DevInfo, home: Path) -> str:
    """The lines to type first. A stack whose folder commands do not find by themselves has to be named to them."""
    lines = [(line.replace("matview", program(), 1), what) for line, what in FIRST]
    width = max(len(line) for line, _ in lines)
    shown = [f"  {line:<{width}}   {f'# {what}' if what else ''}".rstrip() for line, what in lines]
    if nearest_home().absolute() != home.absolute():
        where = {"API_URL": info["api_url"], "API_KEY": info["api_key"], "PROJECT_ID": info["project_id"]}
        shown = [f"  export {' '.join(f'{PREFIX}{name}={value}' for name, value in where.items())}", *shown]
    return "\n".join(shown)
