"""Questions before a command removes or replaces something. They and their answers are no part of its output."""

import sys
from typing import Annotated

import typer

from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure
from orchestrator.model import printable

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def can_ask() -> bool:
    """Whether a person can answer: standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def ask(question: str) -> bool:
    """Whether the person says yes. Anything else, and the end of the input, is a no."""
    sys.stderr.write(f"{printable.lines(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def confirm(question: str, *, yes: bool) -> None:
    """Return if the command may go on. Raises Failure if the person says no, or if there is no person to ask."""
    if yes:
        return
    if not can_ask():
        raise Failure(f"{question} There is no terminal to ask on: say --yes.", EXIT_USAGE)
    if not ask(question):
        raise Failure("nothing was changed")
