"""The bytes of a result, written to standard output or to a file, which is there only when it is complete."""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import httpx
import typer
from rich.filesize import decimal

from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure, StatusLine, byte_writer, echo_json, is_read, void
from orchestrator.model import printable
from orchestrator.model.reading import ResultFormat

_BINARY = (ResultFormat.ARROW, ResultFormat.PARQUET)
_ENDINGS = {f".{one}": one for one in ResultFormat} | {".jsonl": ResultFormat.NDJSON}
_STANDARD_OUTPUT = "-"

Write = Callable[[bytes], None]


def chosen_format(given: ResultFormat | None, output: str | None, *, as_json: bool) -> ResultFormat | None:
    """The format of the options, or that of the file's ending; None for a table. Raises for options that conflict."""
    if as_json and given not in {None, ResultFormat.JSON}:
        raise typer.BadParameter("--json is the format json", param_hint="--format")
    found = ResultFormat.JSON if as_json else given
    if found is None and output not in {None, _STANDARD_OUTPUT}:
        found = _ENDINGS.get(Path(str(output)).suffix.lower())
        if found is None:
            raise typer.BadParameter("the ending of the file names no format: give --format", param_hint="--output")
    if found in _BINARY and output in {None, _STANDARD_OUTPUT} and sys.stdout.isatty():
        raise Failure(f"{found} is not text for a terminal: give -o FILE, or redirect the output", EXIT_USAGE)
    return found


@contextmanager
def destination(output: str | None, result_format: ResultFormat) -> Iterator[Write]:
    """A function that writes the next bytes of a result. A file gets its name when the context ends without an error.

    Raises Failure if it cannot be written.
    """
    if output not in {None, _STANDARD_OUTPUT}:
        with _file(Path(str(output))) as file:
            yield lambda chunk: void(file.write(chunk))
    elif result_format is ResultFormat.JSON:
        document = bytearray()
        yield document.extend
        echo_json(document.decode(errors="replace").rstrip("\n"))
    else:
        escape = printable.json_text if result_format is ResultFormat.NDJSON else printable.lines
        yield byte_writer(escape)
        sys.stdout.flush()


def copy(response: httpx.Response, write: Write, *, to_file: bool) -> None:
    """Write the content of a response as it arrives, and show how much came on standard error."""
    total = None if "content-encoding" in response.headers else response.headers.get("content-length")
    line = StatusLine(enabled=to_file or not sys.stdout.isatty())
    began, size = time.monotonic(), 0
    try:
        for chunk in response.iter_bytes():
            write(chunk)
            size += len(chunk)
            if line.is_due:
                line.show(_progress(size, total, time.monotonic() - began))
            if not to_file and not is_read():
                return
    finally:
        line.clear()


def is_file(output: str | None) -> bool:
    """Whether the option names a file, and not standard output."""
    return output not in {None, _STANDARD_OUTPUT}


def _progress(size: int, total: str | None, seconds: float) -> str:
    speed = f"{decimal(int(size / seconds))}/s"
    if total is None or not int(total):
        return f"{decimal(size)}, {speed}"
    return f"{decimal(size)} of {decimal(int(total))} ({100 * size // int(total)} %), {speed}"


@contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    try:
        # A link stays a link: the file behind it is replaced.
        target = path.resolve()
        mode = target.stat().st_mode if target.exists() else None
        if mode is None or stat.S_ISREG(mode):
            with _replacement(target, mode) as file:
                yield file
        elif stat.S_ISDIR(mode):
            raise Failure(f"{path} is a folder", EXIT_USAGE)
        else:
            with target.open("wb") as file:  # a pipe or a device, which cannot be replaced
                yield file
    except OSError as error:  # the client of the API raises none
        raise Failure(f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def _replacement(target: Path, mode: int | None) -> Iterator[BinaryIO]:
    """A new file beside `target`, which gets its name, and its mode if it exists, when the context has ended."""
    partial = target.with_name(f".matview-{uuid4().hex}.part")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
            os.fsync(file.fileno())  # after a power failure, the name could otherwise stand for a part
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
