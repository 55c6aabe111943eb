"""`matview doctor`: finds what is wrong with an installation, and prints what to do about it."""

# ruff: noqa: PLC0415 - a command imports what it runs when it is called; see processes.py

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.installation import HomeOption, installation, is_running, nearest_home, state_of
from orchestrator.cli.output import Failure, echo, echo_json
from orchestrator.cli.processes import checked_settings
from orchestrator.cli.program import typeable
from orchestrator.model.printable import one_line

if TYPE_CHECKING:
    from orchestrator.doctor.report import Report


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    home: HomeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Check everything that an installation needs, and print what to do; the status is 1 if something does not work."""
    from orchestrator.doctor.run import misconfigured, run_doctor, with_stopped_stack

    dev, origin = installation(home)
    stack = home or nearest_home()
    try:
        settings = checked_settings(**dev)
    except Failure as failure:
        report = misconfigured(str(failure))
    else:
        report = asyncio.run(run_doctor(settings, origin))
        if not report.healthy and origin == str(stack / "dev.json") and not is_running(stack):
            report = with_stopped_stack(report, state_of(stack).removeprefix("not running: "))
    if as_json:
        echo_json(report.model_dump_json(indent=2))
    else:
        _show(report)
    if not report.healthy:
        raise typer.Exit(1)


def _show(report: "Report") -> None:
    from orchestrator.doctor.report import Status

    width = max(len(line.check) for line in report.lines)
    for line in report.lines:
        echo(one_line(f"{line.verdict:<5} {line.check:<{width}}  {line.message}"))
        if line.advice is not None:
            echo(one_line(f"{'':<5} {'':<{width}}  -> {typeable(line.advice)}"))
    echo(", ".join(f"{report.count(verdict)} {verdict}" for verdict in Status))
