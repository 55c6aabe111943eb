"""The `matview` command: its subcommands and its exit status."""

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

import typer

from orchestrator.cli import (
    admin,
    diffs,
    doctor,
    generations,
    keys,
    processes,
    reading,
    shell,
    tables,
    tries,
    versions,
    views,
)
from orchestrator.cli.output import Failure, fail, set_up_streams

app = typer.Typer(
    help="SQL views, materialized on a schedule of their own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
processes.add_to(app)
doctor.add_to(app)
app.add_typer(admin.project, name="project")
app.add_typer(keys.app, name="key")
app.add_typer(tables.app, name="table")
versions.add_to(views.app)
diffs.add_to(views.app)
tries.add_to(views.app)
app.add_typer(views.app, name="view")
generations.add_to(app)
reading.add_to(app, views.app)
shell.add_to(app)


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
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
