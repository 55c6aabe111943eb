"""`matview …`: which commands there are."""

import os
import sys

import typer

from orchestrator.cli import admin, servers, tables, views
from orchestrator.cli.console import Failure, fail

app = typer.Typer(
    help="SQL views, materialized on a schedule of their own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
servers.add_to(app)
app.add_typer(admin.project, name="project")
app.add_typer(admin.key, name="key")
app.add_typer(tables.app, name="table")
app.add_typer(views.app, name="view")


def run() -> None:
    """Run the command line; a failure is one line on standard error and a status that is not 0."""
    try:
        app()
    except Failure as failure:
        sys.stdout.flush()
        fail(str(failure))
        os._exit(failure.status)
