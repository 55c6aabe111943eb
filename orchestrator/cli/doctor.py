"""`matview doctor`: what is wrong with an installation, and what to do about it."""

# ruff: noqa: PLC0415 - a command imports what it runs when it is called; see servers.py

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.console import Failure, say, say_json
from orchestrator.cli.servers import HOME, checked_settings
from orchestrator.devstack.home import DevInfo, Home
from orchestrator.settings import PREFIX

if TYPE_CHECKING:
    from orchestrator.doctor.report import Report

_MISUSED = 2
_WHERE = ("database_url", "data_dir", "temporal_address", "temporal_namespace", "temporal_ui_url")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    home: Annotated[
        Path | None, typer.Option(help="The folder of a `matview dev`. Without it: the environment, or .matview here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Look at everything that an installation needs, and say what to do; the status is 1 if something does not work."""
    from orchestrator.doctor.examination import examination, misconfigured

    dev, origin = _whereabouts(home)
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


def _whereabouts(home: Path | None) -> tuple[dict[str, str], str]:
    """The settings that the folder of a stack gives, and what to call where the settings come from."""
    if home is None and f"{PREFIX}DATABASE_URL" in os.environ:
        return {}, "the environment"
    info = _read(home or HOME)
    if info is not None:
        return {name: value for name in _WHERE if (value := str(info.get(name, "")))}, str((home or HOME) / "dev.json")
    if home is not None:
        raise Failure(f"{home} is no folder of a `matview dev`: there is no dev.json in it", _MISUSED)
    return {}, "the environment and .env"


def _read(home: Path) -> DevInfo | None:
    try:
        return Home(home).read_info()
    except OSError as error:
        raise Failure(f"{home / 'dev.json'} cannot be read: {error.strerror}", _MISUSED) from None


def _show(report: "Report") -> None:
    from orchestrator.doctor.report import Verdict

    width = max(len(line.check) for line in report.lines)
    for line in report.lines:
        say(f"{line.verdict:<5} {line.check:<{width}}  {line.told}")
        if line.advice is not None:
            say(f"{'':<5} {'':<{width}}  -> {line.advice}")
    say(", ".join(f"{report.count(verdict)} {verdict}" for verdict in Verdict))
