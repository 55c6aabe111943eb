"""`matview view plan`: what a change of one view would do."""

from typing import Annotated

import typer

from orchestrator.cli.api_client import Api, Json, data, naming_file, with_api
from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure, echo_json
from orchestrator.cli.project.commands import refuse
from orchestrator.cli.project.plan_display import show_plan
from orchestrator.cli.views import PATH, View, statement


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan_view)


@with_api
def plan_view(
    api: Api,
    view: View,
    sql: Annotated[str | None, typer.Argument(help="The new statement; - reads it from standard input.")] = None,
    *,
    file: Annotated[str | None, typer.Option(help="The file that holds it; - is standard input.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Plan its deletion instead.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show how the statement changes, line by line.")] = False,
) -> None:
    """Show what another query for a view would change, break and refresh. Nothing is changed."""
    if delete and (sql or file):
        raise Failure("give a statement or --delete, one of them", EXIT_USAGE)
    body: Json = {"name": view, "deleted": True} if delete else {"name": view, "query": {"query": statement(sql, file)}}
    with naming_file(file):
        response = api.post(f"{PATH}plan/", body)
    plan = data(response)
    if api.as_json:
        echo_json(response.text)
    else:
        show_plan(plan, None, diff=diff)
    refuse(plan, break_dependents=False)
