"""Finding the files of a source table: local files below the folders that the operator allows, and nothing else."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from orchestrator.engines.paths import can_be_exact
from orchestrator.model.errors import InvalidSource

MAX_PATTERN_LENGTH = 500
MAX_FILES = 10_000
# Not files but windows into the machine, whatever folder the operator allowed.
_NEVER = tuple(Path(p) for p in ("/proc", "/sys", "/dev"))


class SourceFile(NamedTuple):
    """A matching file: its path as the pattern spells it, and with every symbolic link resolved."""

    shown: str
    real: str


def find_source_files(url_pattern: str, roots: Sequence[Path]) -> list[SourceFile]:
    """The files that match, sorted by path.

    `url_pattern` is an absolute path or a file:// URL, in which `*` and `?` match within one segment of the path, and
    not the leading dot of a hidden file. Raises InvalidSource if it is anything else, lies outside `roots`, or matches
    what is not a plain file inside `roots`.
    """
    parts = _segments(url_pattern)
    if not roots:
        raise _invalid("No folder may be read by source tables. Set MATVIEW_SOURCE_ROOTS to allow one.")
    allowed = [Path(os.path.realpath(r)) for r in roots]
    start = _start_of(parts, roots, allowed)
    if start is None:
        raise _invalid(f"{url_pattern} lies outside the folders that source tables may read.")
    try:
        found = [_checked(path, allowed) for path in _matches(start, parts[len(start.parts) - 1 :])]
    except OSError as error:
        raise _invalid(f"{url_pattern} cannot be read: {error.strerror}.") from None
    if len(found) > MAX_FILES:
        raise _invalid(f"{url_pattern} matches more than {MAX_FILES:,} files.")
    return sorted(found)


def _invalid(message: str) -> InvalidSource:
    return InvalidSource(message, attr="url_pattern")


def _segments(url_pattern: str) -> list[str]:
    if len(url_pattern) > MAX_PATTERN_LENGTH:
        raise _invalid(f"Ensure this field has no more than {MAX_PATTERN_LENGTH} characters.")
    path = url_pattern.removeprefix("file://")
    if not path.startswith("/") or not path.isprintable():
        raise _invalid("Only local files can be read: give an absolute path, such as /data/events/*.parquet.")
    segments = [s for s in path.split("/") if s not in {"", "."}]
    if ".." in segments:
        raise _invalid("The path may not contain '..'.")
    if any("**" in s for s in segments):
        raise _invalid("'**' is not supported: '*' matches within one folder.")
    return segments


def _start_of(segments: list[str], roots: Sequence[Path], allowed: Sequence[Path]) -> Path | None:
    """The folder to look for the files in: a root as the pattern spells it, or a folder that is really in one."""
    for root in (Path(os.path.abspath(r)) for r in roots):  # noqa: PTH100 - a root may itself be a symbolic link
        depth = len(root.parts) - 1
        if len(segments) > depth and tuple(segments[:depth]) == root.parts[1:]:
            return root
    fixed = Path("/", *takewhile(lambda segment: not _is_wild(segment), segments[:-1]))
    real = Path(os.path.realpath(fixed))
    return fixed if any(real.is_relative_to(root) for root in allowed) else None


def _is_wild(segment: str) -> bool:
    return "*" in segment or "?" in segment


def _matches(folder: Path, segments: list[str]) -> Iterator[Path]:
    first, rest = segments[0], segments[1:]
    wild = _is_wild(first)
    for path in _wildcard(folder, first) if wild else [folder / first]:
        if not rest:
            if path.exists() and not (wild and path.is_dir()):
                yield path
        elif path.is_dir():
            yield from _matches(path, rest)


def _wildcard(folder: Path, segment: str) -> list[Path]:
    expression = re.compile(re.escape(segment).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
    hidden = segment.startswith(".")
    return [folder / n for n in os.listdir(folder) if expression.fullmatch(n) and (hidden or not n.startswith("."))]  # noqa: PTH208 - names only


def _checked(path: Path, allowed: list[Path]) -> SourceFile:
    real = Path(os.path.realpath(path))
    inside = any(real.is_relative_to(root) for root in allowed)
    if not inside or any(real.is_relative_to(never) for never in _NEVER):
        raise _invalid(f"{path} leads outside the folders that source tables may read.")
    if not stat.S_ISREG(real.stat().st_mode):
        raise _invalid(f"{path} is not a file.")
    if not can_be_exact(str(real)):
        raise _invalid(f"{path} cannot be read: its path has a backslash and one of the characters * ? [ in it.")
    return SourceFile(str(path), str(real))
