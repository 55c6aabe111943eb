"""Checks of a file pattern before it is sent: its format, and whether it matches the intended files."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path, PurePath

import typer

from orchestrator.cli.program import advice
from orchestrator.model.source_table import SourceFormat, format_named

_FORMATS = {
    ".parquet": SourceFormat.PARQUET,
    ".csv": SourceFormat.CSV_WITH_NAMES,
    ".tsv": SourceFormat.CSV_WITH_NAMES,
    ".json": SourceFormat.JSON_EACH_ROW,
    ".jsonl": SourceFormat.JSON_EACH_ROW,
    ".ndjson": SourceFormat.JSON_EACH_ROW,
}
_DATABASES = {
    "postgresql": SourceFormat.POSTGRESQL,
    "postgres": SourceFormat.POSTGRESQL,
    "mysql": SourceFormat.MYSQL,
}
_NUMBERS = re.compile(r"\d+(?:[-_.T:]\d+)*")
_SHOWN_ENDINGS = 5
_COMPRESSED = (".gz", ".zst")
# The most entries of a folder that are read. They only serve for advice, so a huge folder need not be read whole.
_LOOKED_AT = 10_000


def single(pattern: list[str], command: str) -> str:
    """The one pattern that was given; for a folder, that of its files.

    Raises BadParameter if the shell has expanded a pattern, with what is to be typed after `command`, or if a folder
    holds files of several formats.
    """
    if len(pattern) > 1:
        typed = f"{command} {shlex.quote(_pattern_of(pattern))}"
        raise typer.BadParameter(
            f"the shell has put {len(pattern)} files in place of a pattern, and the table would never have others; "
            f"with the pattern in quotes, it has all that match at any time: {typed}",
            param_hint="PATTERN",
        )
    if pattern[0] and _is_local(pattern[0]) and Path(pattern[0]).expanduser().is_dir():
        return _files_of_folder(pattern[0].rstrip("/") or "/")
    return pattern[0]


def _pattern_of(files: Sequence[str]) -> str:
    """The pattern that the shell probably expanded to these files."""
    folder, endings = os.path.commonpath(files), {_ending(file) for file in files}
    if Path(folder).suffix and folder in files:
        folder = str(Path(folder).parent)
    names = [PurePath(file).name for file in files]
    shapes = {_shape(name) for name in names}
    name = shapes.pop() if len(shapes) == 1 else f"*{endings.pop() if len(endings) == 1 else ''}"
    is_flat = len({PurePath(file).parent for file in files}) == 1
    return str(PurePath(folder, name) if is_flat else PurePath(folder, "*", name))


def _files_of_folder(folder: str) -> str:
    """The pattern of the files in a folder. Raises BadParameter unless all that can be read have one ending."""
    counts = Counter(_ending(name) for name in _names_in(Path(folder).expanduser()) if _format_of(name))
    if len(counts) == 1:
        return str(Path(folder) / f"*{next(iter(counts))}")
    held = ", ".join(f"{count:,} *{ending}" for ending, count in counts.most_common(_SHOWN_ENDINGS))
    usual = f"*{counts.most_common(1)[0][0] if counts else '.parquet'}"
    which = "holds files of several formats" if counts else "holds no files that can be read"
    raise typer.BadParameter(
        f"{folder} is a folder, and {which}{f' ({held})' if held else ''}; say which of its files, in quotes: "
        f"'{Path(folder) / usual}'",
        param_hint="PATTERN",
    )


def named_format(text: str) -> SourceFormat:
    """The format of that name or alias. Raises BadParameter."""
    try:
        found = format_named(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if found is SourceFormat.CSV_WITH_NAMES and text != found.value:
        typer.echo(f"note: {text} is read as {found}: with a header line; CSV has none", err=True)
    return found


def guess_format(pattern: str) -> SourceFormat:
    """The format of files with the ending of a pattern. Raises BadParameter for an unknown ending."""
    found = _DATABASES.get(pattern.partition("://")[0].lower()) or _format_of(pattern)
    if found is None:
        known = ", ".join(SourceFormat)
        raise typer.BadParameter(f"cannot be guessed from {pattern!r}; say which it is: {known}", param_hint="--format")
    return found


def has_tabs(pattern: str) -> bool:
    """Whether the ending of a pattern means that tabs separate the columns."""
    return _ending(pattern).startswith(".tsv")


def absolute(pattern: str) -> str:
    """The pattern as an absolute path, since the server has another current folder. A URL stays as it is."""
    return os.path.abspath(Path(pattern).expanduser()) if _is_local(pattern) else pattern  # noqa: PTH100 - takes .. away


def warn_of_siblings(pattern: str, table: str) -> None:
    """Warn on standard error if files of the same kind lie beside the only registered file.

    The shell expands an unquoted `*.csv` to one file while there is only one. The table would never read later files.
    Files are of the same kind if their names differ in numbers only, or else if they have the same ending.
    """
    path = Path(pattern).expanduser()
    if not _is_local(pattern) or "*" in pattern or "?" in pattern or not path.is_file():
        return
    ending = _ending(pattern)
    beside = [name for name in _names_in(path.parent) if name != path.name and _ending(name) == ending]
    similar = [name for name in beside if _shape(name) == _shape(path.name)]
    kind = _shape(path.name) if similar else f"*{ending}"
    others = len(similar or beside)
    if others:
        typer.echo(
            f"note: only the one file {path.name} is registered, though {others:,} more {kind} "
            f"{'lies' if others == 1 else 'lie'} beside it; for all of them, now and later: "
            f"{advice('table', 'update', table, '--pattern', absolute(str(path.parent / kind)))}",
            err=True,
        )


def _shape(name: str) -> str:
    """The pattern of a name in which only the numbers differ: `*` for a run of digits, and of dates."""
    ending = _ending(name)
    stem = name[: len(name) - len(ending)] if ending else name
    return _NUMBERS.sub("*", stem) + name[len(stem) :]


def _is_local(pattern: str) -> bool:
    return "://" not in pattern


def _ending(pattern: str) -> str:
    """The ending that says how a file is read: `.csv`, or `.csv.gz` if it is compressed."""
    path = PurePath(pattern.lower())
    if path.suffix in _COMPRESSED:
        return PurePath(path.stem).suffix + path.suffix
    return path.suffix


def _format_of(pattern: str) -> SourceFormat | None:
    ending = _ending(pattern)
    plain = PurePath(f"x{ending}").suffixes
    found = _FORMATS.get(plain[0]) if plain else None
    # Parquet is compressed inside, so `.parquet.gz` is no format.
    return None if found is SourceFormat.PARQUET and len(plain) > 1 else found


def _names_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, _LOOKED_AT) if not entry.name.startswith(".")]
    except OSError:
        return []
