"""What commands print, and how they fail."""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.model import printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# For what moves on a terminal; everything else is said.
out = Console(highlight=False, soft_wrap=True)


class Failure(Exception):
    """A command could not do what it was asked; `status` is the process's exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class _Output(io.FileIO):
    """Standard output, to which nothing more is written once that has failed.

    Whoever reads it may stop at any time, as `head` does: a command does its work all the same, and its status says
    how that went. Any other trouble, like a full disk, is a failure: what was asked for is not there.
    """

    _over = False

    def write(self, data: "ReadableBuffer", /) -> int:
        if not self._over:
            try:
                return super().write(data)
            except OSError as error:
                self._over = True
                if not isinstance(error, BrokenPipeError):
                    raise Failure(f"the output cannot be written: {error.strerror}") from None
        return memoryview(data).nbytes


class _Errors(io.TextIOWrapper):
    """Standard error, to which nothing is written that a terminal would obey.

    Not only we write there: usage errors repeat what was typed, which may be a file's name that the shell put in, and
    a traceback ends with the text of the exception.
    """

    def write(self, text: str, /) -> int:
        super().write(printable.lines(text))
        return len(text)


def set_up_streams() -> None:
    """Make standard output one that can take every character, and that can be closed or full without a traceback.

    And standard error one that no text from outside can steer a terminal through.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # it was closed: whatever is opened next, a socket even, would be given its number
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is not None:
        raw, encoding = _Output(sys.stdout.fileno(), "wb", closefd=False), sys.stdout.encoding
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=True
        )
    if sys.stderr is not None:
        raw_errors = io.FileIO(sys.stderr.fileno(), "wb", closefd=False)
        sys.stderr = _Errors(
            io.BufferedWriter(raw_errors), encoding=sys.stderr.encoding, errors="backslashreplace", line_buffering=True
        )
    null = Path(os.devnull)
    sys.stdout = sys.stdout or null.open("w")
    sys.stderr = sys.stderr or null.open("w")


def echo(text: str) -> None:
    """Print a text of one line or more: nothing in it is markup, not even `:name:`, and a terminal obeys none of it."""
    sys.stdout.write(printable.lines(text) + "\n")
    sys.stdout.flush()


def echo_json(text: str) -> None:
    """Print JSON for another program, its value unchanged and in UTF-8, as JSON is wherever it goes.

    What a terminal would obey is escaped as JSON has it.
    """
    sys.stdout.flush()
    sys.stdout.buffer.write(printable.json_text(text).encode() + b"\n")
    sys.stdout.buffer.flush()


def echo_best_effort(text: str) -> None:
    """Print a line if that is possible: for what goes on in any case."""
    with suppress(Failure):
        echo(text)


def warn(text: str) -> None:
    """Say something on standard error, if anything listens there: it is no part of what was asked for."""
    with suppress(OSError):
        sys.stderr.write(printable.lines(text) + "\n")
        sys.stderr.flush()


def fail(message: str) -> None:
    """Say what went wrong. Lines after the first are indented, so that no text can pretend to be a line of ours."""
    warn(hanging("error: ", message))


def hanging(label: str, text: str) -> str:
    """The text behind a label, its further lines below its first."""
    return label + text.replace("\n", "\n" + " " * len(label))
