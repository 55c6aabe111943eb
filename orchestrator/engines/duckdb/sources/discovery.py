"""Finds the files of a source table: only local files below the folders that the operator allows.

A file is opened once. Its path without symbolic links, its kind, and its `device` and `inode` are all read from the
open descriptor. The sandbox allows the child process to open exactly that file. So replacing the path with a symbolic
link afterwards gives access to no other file.
"""

import json
import os
import re
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import xxhash

from orchestrator.model.errors import InvalidSource
from orchestrator.model.file_patterns import MAX_FILES, MAX_PATTERN_LENGTH, fits, is_visible, is_wild
from orchestrator.model.private_folders import MARKER
from orchestrator.model.remote_files import COPY_VERSION, RemoteObject, is_remote, name_of_source

_NAMED_ROOTS = 5
# No data lies here: these are interfaces of the kernel, settings, and secrets of containers and services.
_NEVER = ("/proc", "/sys", "/dev", "/etc", "/run/secrets", "/run/credentials", "/run/user")
# Only Linux gives the path of an open descriptor. Elsewhere there is no sandbox that would need it.
_BY_DESCRIPTOR = sys.platform == "linux"


_COARSEST_TIME_NS = 2_000_000_000
_MODIFIED = "modified:"
# As buckets make them, also of uploads in parts. A web server's are made of the file's time, in seconds, and its size.
_ETAG_OF_CONTENT = re.compile(r'etag:"?[0-9a-f]{32}(-\d+)?"?', re.IGNORECASE)

_MAGIC = re.compile(r"[*?\[]")


class SourceFile(NamedTuple):
    """A file that matches a pattern.

    `shown` is its path as the pattern spells it, and `real` its path without symbolic links. `inode` is the kernel's
    number of the file that was opened; 0 stands for any file. The number of its device is left out: each machine that
    mounts a shared file system gives it another one.

    Of a remote file, `shown` is its URL and `real` the name under which a query opens it. Only such a file has a `size`
    in bytes, a time of its last change in nanoseconds and a `version`, as RemoteObject has them.
    """

    shown: str
    real: str
    inode: int = 0
    size: int = 0
    modified_ns: int = 0
    version: str = ""


class ListedFile(NamedTuple):
    """A file that matches a pattern, and its status at that moment.

    The size is in bytes, and the times at which its content and its status were last changed are in nanoseconds.
    """

    file: SourceFile
    size: int
    modified_ns: int
    changed_ns: int

    @property
    def identity(self) -> str:
        """A text that stays equal as long as it is the same file and is not changed.

        The time of its last change of status is part of it: a program can set the other one back.
        """
        return f"{self.file.inode}:{self.size}:{self.modified_ns}:{self.changed_ns}"

    @property
    def is_settled(self) -> bool:
        """Whether a further change would give it another identity: file systems have times of up to two seconds."""
        return max(self.modified_ns, self.changed_ns) + _COARSEST_TIME_NS < time.time_ns()


def remote_file(found: RemoteObject) -> SourceFile:
    """A remote file of a source table, as queries have it."""
    return SourceFile(found.url, name_of_source(found), 0, found.size, found.modified_ns, found.version)


def remote_identity(file: SourceFile) -> str:
    """A text that stays equal as long as a remote file is not changed: its version, and with a time its size.

    A program can set the time of a file back.
    """
    return f"{file.version}:{file.size}" if file.version.startswith(_MODIFIED) else file.version


def is_settled_remotely(file: SourceFile) -> bool:
    """Whether a further change of a remote file would give it another identity.

    A time has seconds only, and the ETags of many servers are made of the time and the size.
    """
    is_of_content = file.version.startswith(COPY_VERSION) or _ETAG_OF_CONTENT.fullmatch(file.version)
    return bool(is_of_content) or file.modified_ns + _COARSEST_TIME_NS < time.time_ns()


def remote_object(file: SourceFile) -> RemoteObject:
    """The object that a remote file is."""
    return RemoteObject(file.shown, file.size, file.modified_ns, file.version)


def real_path(path: str) -> str:
    """The path without symbolic links; the URL of a remote file stays as it is."""
    return path if is_remote(path) else os.path.realpath(path)


def shown_path(file: SourceFile) -> str:
    """The path of a file in Unicode, which its name may not be: every user of a report takes Unicode only."""
    return os.fsencode(file.shown).decode("utf-8", "backslashreplace")


def listing_digest(files: Iterable[tuple[str, str]]) -> str:
    """The digest of the path and the identity of each file, in their order."""
    digest = xxhash.xxh3_128()
    for pair in files:
        digest.update(json.dumps(pair).encode())
    return f"xxh128:{digest.hexdigest()}"


def find_source_files(
    url_pattern: str, roots: Sequence[str | Path], private: Sequence[str | Path] = ()
) -> list[SourceFile]:
    """The files that match, sorted by path. Otherwise the same as `list_source_files`."""
    return [listed.file for listed in list_source_files(url_pattern, roots, private)]


def list_source_files(
    url_pattern: str, roots: Sequence[str | Path], private: Sequence[str | Path] = ()
) -> list[ListedFile]:
    """The files that match and their state now, sorted by path.

    `url_pattern` is an absolute path or a file:// URL. In it, `*` and `?` match within one segment of the path, but not
    the leading dot of a hidden file.

    Raises InvalidSource for any other pattern, and for one outside `roots`. Also raises it if a match is hidden, is not
    a plain file inside `roots`, or lies in one of `private` or in another private folder.
    """
    parts = _segments(url_pattern)
    if not roots:
        raise _invalid("No folder may be read by source tables. Set MATVIEW_SOURCE_ROOTS to allow one.")
    allowed = _Allowed(roots, private)
    start = _start_of(parts, roots, allowed)
    if start is None:
        raise _invalid(_outside(url_pattern, roots))
    found = []
    try:
        for path in _matches(start, parts[len(start.parts) - 1 :]):
            found.append(_checked(path, allowed))
            if len(found) > MAX_FILES:
                break
    except OSError as error:
        raise _invalid(f"{url_pattern} cannot be read: {error.strerror}.") from None
    if len(found) > MAX_FILES:
        raise _invalid(f"{url_pattern} matches more than {MAX_FILES:,} files.")
    return sorted(found)


def _outside(url_pattern: str, roots: Sequence[str | Path]) -> str:
    named = ", ".join(map(str, roots[:_NAMED_ROOTS])) + (", …" if len(roots) > _NAMED_ROOTS else "")
    return (
        f"{url_pattern} lies outside the folders that source tables may read: {named}. To allow another one, start "
        "`matview dev` with --source-root FOLDER, or have the operator add it to MATVIEW_SOURCE_ROOTS."
    )


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


class _Allowed:
    """Decides which real paths may be read: those below `roots` that are neither hidden there nor private."""

    def __init__(self, roots: Sequence[str | Path], private: Sequence[str | Path]) -> None:
        self._roots = [Path(os.path.realpath(root)) for root in roots]
        self._private = [Path(os.path.realpath(path)) for path in (*_NEVER, *private)]
        self._is_marked = cache(lambda folder: os.path.lexists(folder / MARKER))

    def inside(self, real: Path) -> bool:
        """Whether a folder or a file lies below a root."""
        return any(real.is_relative_to(root) for root in self._roots)

    def refusal(self, real: Path) -> str | None:
        """Why a file may not be read, as the end of a sentence; None if it may."""
        if any(real.is_relative_to(path) for path in self._private) or any(map(self._is_marked, real.parents)):
            return "is private to this installation: no source table may read it"
        below = [real.relative_to(root) for root in self._roots if real.is_relative_to(root)]
        if not below:
            return "leads outside the folders that source tables may read"
        if all(any(part.startswith(".") for part in path.parts) for path in below):
            return "is hidden, or lies in a hidden folder: no source table may read it"
        return None


def _start_of(segments: list[str], roots: Sequence[str | Path], allowed: _Allowed) -> Path | None:
    """The folder in which the search begins; None if the pattern lies outside the roots.

    It is a root with which the pattern begins. Otherwise it is the folder before the first wildcard, if its real path
    lies below a root.
    """
    for root in (Path(os.path.abspath(r)) for r in roots):  # noqa: PTH100 - a root may itself be a symbolic link
        depth = len(root.parts) - 1
        if len(segments) > depth and tuple(segments[:depth]) == root.parts[1:]:
            return root
    fixed = Path("/", *takewhile(lambda segment: not is_wild(segment), segments[:-1]))
    real = Path(os.path.realpath(fixed))
    return fixed if allowed.inside(real) else None


def _matches(folder: Path, segments: list[str]) -> Iterator[Path]:
    first, rest = segments[0], segments[1:]
    wild = is_wild(first)
    for path in _wildcard(folder, first) if wild else [folder / first]:
        if not rest:
            if path.exists() and not (wild and path.is_dir()):
                yield path
        elif path.is_dir():
            yield from _matches(path, rest)


def _wildcard(folder: Path, segment: str) -> list[Path]:
    return [folder / n for n in os.listdir(folder) if is_visible(n, segment) and fits(n, segment)]  # noqa: PTH208 - names only


def _checked(path: Path, allowed: _Allowed) -> ListedFile:
    real, status = _looked_at(path)
    refusal = allowed.refusal(Path(real))
    if refusal:
        raise _invalid(f"{path} {refusal}.")
    if not stat.S_ISREG(status.st_mode):
        raise _invalid(f"{path} is not a file.")
    if not _can_be_escaped(real):
        raise _invalid(f"{path} cannot be read: its path has a backslash and one of the characters * ? [ in it.")
    file = SourceFile(str(path), real, status.st_ino)
    return ListedFile(file, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _looked_at(path: Path) -> tuple[str, os.stat_result]:
    """The path without symbolic links and the status, on Linux both of one open descriptor. Raises OSError."""
    if not _BY_DESCRIPTOR:
        return os.path.realpath(path), path.stat()
    while True:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            status, real = os.fstat(descriptor), os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - as written
        finally:
            os.close(descriptor)
        if status.st_nlink:  # else it was just deleted or replaced, and its path is no longer known
            return real, status


def _can_be_escaped(path: str) -> bool:
    """Whether an escaped pattern can match this path: in a pattern, DuckDB reads a backslash as a slash."""
    return "\\" not in path or not _MAGIC.search(path)
