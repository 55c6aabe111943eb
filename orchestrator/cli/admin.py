"""`matview project`: commands for the operator of the installation."""

import json
from typing import Annotated

import typer
from pydantic import ValidationError

from orchestrator.cli.api_client import echo_columns
from orchestrator.cli.database_access import storable, with_access
from orchestrator.cli.installation import HomeOption
from orchestrator.cli.output import echo, echo_json
from orchestrator.model.principal import ProjectLimits

project = typer.Typer(help="Projects: each has views, tables and keys of its own.", no_args_is_help=True)


@project.command("create")
def create_project(name: str, home: HomeOption = None) -> None:
    """Create a project and print its id."""
    if not name.strip():
        raise typer.BadParameter("a project needs a name", param_hint="NAME")
    made = with_access(home, lambda access: access.create_project(storable(name)))
    echo(str(made.id))


@project.command("list")
def list_projects(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    home: HomeOption = None,
) -> None:
    """List the projects, and the limits that they have of their own."""
    found = with_access(home, lambda access: access.list_projects())
    if as_json:
        echo_json(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
        return
    echo_columns(
        ("ID", "NAME", "LIMITS"),
        [
            (
                one.id,
                one.name,
                " ".join(f"{name}={value}" for name, value in one.limits.model_dump(exclude_none=True).items()),
            )
            for one in found
        ],
    )


@project.command("limits")
def set_project_limits(
    project_id: int,
    *,
    memory_mb: Annotated[int | None, typer.Option(help="Memory of a query, in MiB.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of a query.")] = None,
    temp_disk_mb: Annotated[int | None, typer.Option(help="What a query may spill to the disk, in MiB.")] = None,
    output_mb: Annotated[int | None, typer.Option(help="How large a result may be, in MiB.")] = None,
    timeout_seconds: Annotated[float | None, typer.Option(help="How long a query may run.")] = None,
    home: HomeOption = None,
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
    with_access(home, lambda access: access.set_project_limits(project_id, limits))
