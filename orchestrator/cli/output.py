"""The output of commands on standard output and standard error, and their failures."""

import codecs
import io
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.cli.program import typeable
from orchestrator.model import printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# For progress bars only; all other output goes through `echo`.
out = Console(highlight=False, soft_wrap=True)


class Failure(Exception):
    """A command failed; `status` is the exit status of the process."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Dim(str):
    """Text that a terminal shows with less contrast."""

    __slots__ = ()


class _Output(io.FileIO):
    """Standard output, to which nothing more is written after a write has failed.

    The reader of a pipe may close it at any time, as `head` does. The command then still completes its work, and its
    exit status says how that went. Any other error, such as a full disk, raises Failure, since output is missing.
    """

    is_over = False

    def write(self, data: "ReadableBuffer", /) -> int:
        if not self.is_over:
            try:
                return super().write(data)
            except OSError as error:
                self.is_over = True
                if not isinstance(error, BrokenPipeError):
                    raise Failure(f"the output cannot be written: {error.strerror}") from None
        return memoryview(data).nbytes


class _Errors(io.TextIOWrapper):
    """Standard error, with escaped control characters, so that no text can control the terminal.

    Libraries write there too. Usage errors repeat the arguments, which may hold a file name that the shell inserted,
    and a traceback ends with the text of the exception.
    """

    def write(self, text: str, /) -> int:
        super().write(printable.lines(text))
        return len(text)


def set_up_streams() -> None:
    """Replace standard output and standard error.

    Standard output then accepts every character, and a closed pipe or a full disk causes no traceback. Through
    standard error, no text from outside can control the terminal.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # it is closed: the next file or socket to be opened would get its number
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
    """Print text of one or more lines. It has no markup, not even `:name:`, and its control characters are escaped."""
    sys.stdout.write(printable.lines(text) + "\n")
    sys.stdout.flush()


def echo_json(text: str) -> None:
    """Print JSON for another program, with its value unchanged, and in UTF-8 in every locale.

    Characters that could control a terminal are written as JSON escapes.
    """
    sys.stdout.flush()
    sys.stdout.buffer.write(printable.json_text(text).encode() + b"\n")
    sys.stdout.buffer.flush()


def echo_parts(parts: Iterable[str]) -> None:
    """Print one line that is made of these texts. All of their control characters are escaped."""
    is_styled = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    safe = ((isinstance(part, Dim), printable.one_line(part)) for part in parts)
    sys.stdout.write("".join(f"\x1b[2m{text}\x1b[22m" if dim and is_styled else text for dim, text in safe) + "\n")


def byte_writer(escape: Callable[[str], str]) -> Callable[[bytes], None]:
    """A function that writes the bytes of a text in UTF-8 to standard output.

    Another program gets them as they are. For a terminal, `escape` replaces the characters that could control it.
    """
    sys.stdout.flush()
    if not sys.stdout.isatty():
        return lambda chunk: void(sys.stdout.buffer.write(chunk))
    decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
    return lambda chunk: void(sys.stdout.write(escape(decoder.decode(chunk))))


def void(_: object) -> None:
    """Nothing, as the result of a function that is called for its effect."""


def is_read() -> bool:
    """Whether standard output still has a reader. Without one, more output need not be requested."""
    raw = getattr(sys.stdout.buffer, "raw", None)
    return not (isinstance(raw, _Output) and raw.is_over)


class StatusLine:
    """A line on standard error that is drawn again and again, if that is a terminal. It begins after a second."""

    _SECONDS_BETWEEN = 0.2

    def __init__(self, *, enabled: bool = True) -> None:
        self._is_enabled = enabled and sys.stderr.isatty()
        self._is_shown = False
        self._due = time.monotonic() + 1

    @property
    def is_due(self) -> bool:
        """Whether the line is to be drawn again."""
        return self._is_enabled and time.monotonic() >= self._due

    def show(self, text: str) -> None:
        """Draw this text."""
        self._due = time.monotonic() + self._SECONDS_BETWEEN
        self._draw(printable.one_line(text))

    def clear(self) -> None:
        """Remove the line."""
        if self._is_shown:
            self._draw("")

    def _draw(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.buffer.write(f"\r{text}\x1b[K".encode())
            sys.stderr.buffer.flush()
        self._is_shown = bool(text)


def echo_best_effort(text: str) -> None:
    """Print text, and ignore a failure to write it, for a process that goes on without its output."""
    with suppress(Failure):
        echo(text)


def warn(text: str) -> None:
    """Print a message on standard error, and ignore a failure to write it, since it is no part of the result."""
    with suppress(OSError):
        sys.stderr.write(printable.lines(text) + "\n")
        sys.stderr.flush()


def fail(message: str) -> None:
    """Print an error. Lines after the first are indented, so that no text can pass for another message."""
    warn(hanging("error: ", typeable(message)))


def hanging(label: str, text: str) -> str:
    """The text after a label, with its further lines indented below the first."""
    return label + text.replace("\n", "\n" + " " * len(label))
