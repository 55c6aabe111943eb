"""What commands print, and how they fail."""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.control import strip_control_codes

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


def set_up_streams() -> None:
    """Make standard output one that can take every character, and that can be closed or full without a traceback."""
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
    null = Path(os.devnull)
    sys.stdout = sys.stdout or null.open("w")
    sys.stderr = sys.stderr or null.open("w")


def say(text: str) -> None:
    """Print a line as it is: nothing in it is markup, not even `:name:`."""
    sys.stdout.write(strip_control_codes(text) + "\n")
    sys.stdout.flush()


def say_json(text: str) -> None:
    """Print JSON for another program, unchanged and in UTF-8, as JSON is wherever it goes."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode() + b"\n")
    sys.stdout.buffer.flush()


def mention(text: str) -> None:
    """Print a line if that is possible: for what goes on in any case."""
    with suppress(Failure):
        say(text)


def fail(message: str) -> None:
    """Say what went wrong, on standard error, if anybody listens there."""
    with suppress(OSError):
        sys.stderr.write(f"error: {message}\n")
        sys.stderr.flush()
