"""The user's editor, on a text in a temporary file that is kept until the text is saved."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure

_USUAL = ("nano", "vim", "vi")
_LONGEST_NAME = 60


def editor() -> list[str]:
    """The command of the editor: `$VISUAL`, `$EDITOR`, or one that is usually there. Raises Failure if none is."""
    chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR") or next(filter(shutil.which, _USUAL), "")
    try:
        words = shlex.split(chosen)
    except ValueError as error:
        raise Failure(f"EDITOR is no command: {error}", EXIT_USAGE) from None
    if not words:
        raise Failure("there is no editor: set EDITOR, or give the statement or --file", EXIT_USAGE)
    return words


def draft(name: str, text: str) -> Path:
    """A new file with the text, which only this user can read. Its name says what it is."""
    safe = re.sub(r"[^A-Za-z0-9_]", "_", name)[:_LONGEST_NAME]
    descriptor, path = tempfile.mkstemp(prefix=f"{safe}-", suffix=".sql")
    with os.fdopen(descriptor, "wb") as file:  # as bytes, which keeps the line ends that the text has
        file.write((text if text.endswith("\n") else f"{text}\n").encode())
    return Path(path)


def edited(path: Path, command: list[str]) -> str:
    """The text after the editor has ended. Raises Failure if it cannot be started, fails, or leaves no text."""
    try:
        with _interrupts_are_the_editors():
            status = subprocess.run([*command, str(path)], check=False).returncode  # noqa: S603 - the user's own choice
        text = path.read_bytes().decode()
    except OSError as error:
        raise Failure(f"{error.filename or command[0]} cannot be used: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Failure("the text is not in UTF-8") from None
    if status != 0:
        raise Failure(f"{command[0]} ended with status {status}")
    return text


@contextmanager
def _interrupts_are_the_editors() -> Iterator[None]:
    """Ignore Ctrl-C, which reaches every process of the terminal. A handler is not inherited, unlike SIG_IGN."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
