"""`matview doctor`: what is wrong with an installation, and what to do about it."""

# ruff: noqa: PLC0415 - a command imports what it runs when it is called; see servers.py

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.console import Failure, say, say_json
from orchestrator.cli.servers import checked_settings
from orchestrator.cli.whereabouts import HomeOption, installation
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
    """Look at everything that an installation needs, and say what to do; the status is 1 if something does not work."""
    from orchestrator.doctor.examination import examination, misconfigured

    dev, origin = installation(home)
    try:
        settings = checked_settings(**dev)
    except Failure as failure:
        report = misconfigured(str(failure))
    else:
        report = asyncio.run(examination(settings, origin))
    if as_json:
        say_json(report.model_dump_json(indent=2))
    else:
        _show(report)
    if not report.healthy:
        raise typer.Exit(1)


def _show(report: "Report") -> None:
    from orchestrator.doctor.report import Verdict

    width = max(len(line.check) for line in report.lines)
    for line in report.lines:
        say(one_line(f"{line.verdict:<5} {line.check:<{width}}  {line.told}"))
        if line.advice is not None:
            say(one_line(f"{'':<5} {'':<{width}}  -> {line.advice}"))
    say(", ".join(f"{report.count(verdict)} {verdict}" for verdict in Verdict))
