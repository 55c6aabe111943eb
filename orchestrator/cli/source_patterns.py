"""Checks of a file pattern before it is sent: its format, and whether it matches the intended files."""

import os
from itertools import islice
from pathlib import Path, PurePath

import typer

from orchestrator.model.source_table import SourceFormat

_FORMATS = {
    ".parquet": SourceFormat.PARQUET,
    ".csv": SourceFormat.CSV_WITH_NAMES,
    ".tsv": SourceFormat.CSV_WITH_NAMES,
    ".json": SourceFormat.JSON_EACH_ROW,
    ".jsonl": SourceFormat.JSON_EACH_ROW,
    ".ndjson": SourceFormat.JSON_EACH_ROW,
}
_COMPRESSED = (".gz", ".zst")
# The most entries of a folder that are read. They only serve for advice, so a huge folder need not be read whole.
_LOOKED_AT = 10_000


def single(pattern: list[str]) -> str:
    """The one pattern that was given. Raises BadParameter if the shell has expanded it, or if it is a folder."""
    if len(pattern) > 1:
        raise typer.BadParameter(
            f"it stands for {len(pattern)} files by now; write it in quotes, so that the shell does not expand it",
            param_hint="PATTERN",
        )
    if pattern[0] and _is_local(pattern[0]) and Path(pattern[0]).expanduser().is_dir():
        folder = pattern[0].rstrip("/") or "/"
        raise typer.BadParameter(
            f"{folder} is a folder; say which of its files, in quotes: '{Path(folder) / f'*{_usual_ending(folder)}'}'",
            param_hint="PATTERN",
        )
    return pattern[0]


def guess_format(pattern: str) -> SourceFormat:
    """The format of files with the ending of a pattern. Raises BadParameter for an unknown ending."""
    found = _format_of(pattern)
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


def warn_of_siblings(pattern: str) -> None:
    """Warn on standard error if files with the same ending lie beside the only registered file.

    The shell expands an unquoted `*.csv` to one file while there is only one. The table would never read later files.
    """
    path = Path(pattern).expanduser()
    if not _is_local(pattern) or "*" in pattern or "?" in pattern or not path.is_file():
        return
    ending = _ending(pattern)
    others = sum(name != path.name and _ending(name) == ending for name in _names_in(path.parent))
    all_of_them = absolute(str(path.parent / f"*{ending}"))
    beside = f", though {others:,} more *{ending} {'lies' if others == 1 else 'lie'} beside it" if others else ""
    if beside:
        typer.echo(
            f"note: only the one file {path.name} is registered{beside}; for all of them, now and later, "
            f"give the pattern in quotes: '{all_of_them}'",
            err=True,
        )


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


def _usual_ending(folder: str) -> str:
    """The most frequent ending of the readable files in a folder; that of Parquet if there are none."""
    endings = [_ending(name) for name in _names_in(Path(folder).expanduser()) if _format_of(name)]
    return max(endings, key=endings.count, default=".parquet")


def _names_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, _LOOKED_AT) if not entry.name.startswith(".")]
    except OSError:
        return []
