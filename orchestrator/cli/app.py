"""The `matview` command: its subcommands and its exit status."""

import atexit
import os
import sys
from contextlib import suppress
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer
import typer.main
from typer.exceptions import Abort, TyperException

from orchestrator.cli import (
    admin,
    check_runs,
    checks,
    console,
    descriptions,
    diffs,
    doctor,
    generations,
    keys,
    lineage,
    processes,
    reading,
    shell,
    status,
    tables,
    tries,
    versions,
    view_changes,
    view_facts,
    views,
)
from orchestrator.cli.examples import add_examples
from orchestrator.cli.installation import set_verbose
from orchestrator.cli.output import Failure, echo, fail, set_up_streams, warn
from orchestrator.cli.program import program
from orchestrator.cli.project import commands as project, dbt, view_plan

_HELP = "Usage: "
# The scripts for shells that `--install-completion` writes set this, for any path by which the program is called.
_COMPLETION = "_MATVIEW_COMPLETE"

app = typer.Typer(
    help="SQL views, materialized on a schedule of their own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
processes.add_to(app)
status.add_to(app)
doctor.add_to(app)
app.add_typer(admin.project, name="project")
app.add_typer(keys.app, name="key")
app.add_typer(tables.app, name="table")
view_changes.add_to(views.app)
view_facts.add_to(views.app)
versions.add_to(views.app)
diffs.add_to(views.app)
tries.add_to(views.app)
checks.add_to(app)
check_runs.add_to(app)
descriptions.add_to(views.app, tables.app)
app.add_typer(views.app, name="view")
generations.add_to(app)
project.add_to(app)
dbt.add_to(app)
view_plan.add_to(views.app)
lineage.add_to(app)
console.add_to(app)
reading.add_to(app, views.app)
shell.add_to(app)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        echo(f"matview {version('matview')}")
        raise typer.Exit


@app.callback()
def main(
    _: Annotated[
        bool,
        typer.Option("--version", help="Show the version, and nothing else.", callback=_show_version, is_eager=True),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say which API and stack the command uses.")] = False,
) -> None:
    """SQL views, materialized on a schedule of their own."""
    set_verbose(verbose=verbose)


add_examples(app)


def run() -> NoReturn:
    """Run the command line; a failure is a message on standard error and an exit status other than 0.

    The process ends with `os._exit`, without the interpreter's clean-up, in which Temporal's SDK has crashed after the
    work was done. Functions registered with `atexit` still run: logs are flushed, and multiprocessing removes its
    temporary folder. Child processes that run queries notice the end of this process by themselves.
    """
    set_up_streams()
    try:
        status = _status()
        sys.stdout.flush()
    except Failure as failure:
        fail(str(failure))
        status = failure.status
    atexit._run_exitfuncs()  # noqa: SLF001 - no public function runs these without the clean-up that crashes
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(status)


def _status() -> int:
    """Run the command, and return its exit status. Raises Failure, in one line, for a wrong command line."""
    command = typer.main.get_command(app)
    try:
        ended = command.main(prog_name=program(), complete_var=_COMPLETION, standalone_mode=False)
    except Abort:
        return 1
    except TyperException as error:
        message, context = error.format_message(), getattr(error, "ctx", None)
        if message.startswith(_HELP):  # a group of commands, without a command
            warn(message)
            return error.exit_code
        more = "" if context is None else f" See {context.command_path} --help."
        raise Failure(message if message.endswith("?") else f"{message.rstrip('.')}.{more}", error.exit_code) from None
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return ended if isinstance(ended, int) else 0
