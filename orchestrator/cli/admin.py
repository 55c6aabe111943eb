"""`matview project` and `matview key`: for whoever runs the installation, so they go to the database itself.

The database's libraries are imported when a command is called; see servers.py.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from pydantic import ValidationError

from orchestrator.cli.console import Failure, say
from orchestrator.cli.servers import checked_settings
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.principal import ProjectLimits, Scope

if TYPE_CHECKING:
    from orchestrator.access import Access

T = TypeVar("T")

project = typer.Typer(help="Projects: each has views, tables and keys of its own.", no_args_is_help=True)
key = typer.Typer(help="API keys.", no_args_is_help=True)


@project.command("create")
def create_project(name: str) -> None:
    """Create a project and print its id."""
    if not name.strip():
        raise typer.BadParameter("a project needs a name", param_hint="NAME")
    made = _with_access(lambda access: access.create_project(name))
    say(str(made.id))


@project.command("limits")
def limit_project(
    project_id: int,
    *,
    memory_mb: Annotated[int | None, typer.Option(help="Memory of a query, in MiB.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of a query.")] = None,
    temp_disk_mb: Annotated[int | None, typer.Option(help="What a query may spill to the disk, in MiB.")] = None,
    output_mb: Annotated[int | None, typer.Option(help="How large a result may be, in MiB.")] = None,
    timeout_seconds: Annotated[float | None, typer.Option(help="How long a query may run.")] = None,
) -> None:
    """Set what the queries of a project may use, from their next runs on; what is not given is as the worker has it."""
    given = {
        "memory_mb": memory_mb,
        "threads": threads,
        "temp_disk_mb": temp_disk_mb,
        "output_mb": output_mb,
        "timeout_seconds": timeout_seconds,
    }
    try:
        limits = ProjectLimits.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(first["msg"], param_hint=f"--{str(first['loc'][0]).replace('_', '-')}") from None
    _with_access(lambda access: access.limit_project(project_id, limits))


@key.command("create")
def create_key(
    email: Annotated[str, typer.Option(help="Whose key it is.")],
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it may do; repeat for several. All, unless given.")
    ] = None,
    project_id: Annotated[
        list[int] | None, typer.Option("--project", help="Where it may be used; repeat for several. Anywhere, if none.")
    ] = None,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Create a key and print it. It is shown this once, and stored only as a hash."""
    made = _with_access(
        lambda access: access.create_key(
            email=email, label=label, scopes=scope or list(Scope), project_ids=project_id or None
        )
    )
    say(made.token)


def _with_access(work: Callable[["Access"], Awaitable[T]]) -> T:
    from orchestrator.access import Access
    from orchestrator.catalog.database import Database

    async def go() -> T:
        database = Database(checked_settings().database_url, pool_size=1)
        try:
            return await work(Access(database))
        finally:
            await database.close()

    try:
        return asyncio.run(go())
    except OrchestratorError as error:
        raise Failure(str(error)) from None
