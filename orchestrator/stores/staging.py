"""Folders on this machine's disk in which results are written before they are sealed, for every store."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TypeVar

import xxhash

from orchestrator.model.errors import StoreUnavailable
from orchestrator.model.private_folders import MARKER, TEXT
from orchestrator.model.snapshot import SnapshotFile
from orchestrator.stores.base import MANIFEST

T = TypeVar("T")

# The folders of a location: the project, the view, and the run with its attempt.
LOCATIONS = "*/*/*"


class Staging:
    """The folders below `root`, one for each location that is being written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, location: str) -> Path:
        """The folder of a location. Raises ValueError if it would be outside the root."""
        return below(self.root, location)

    def make(self, location: str) -> Path:
        """Make an empty folder for a location."""
        folder = self.path(location)
        remove(folder)
        folder.mkdir(parents=True)
        mark_private(self.root.parent)
        return folder

    async def measure(self, location: str, files: Sequence[SnapshotFile]) -> tuple[SnapshotFile, ...]:
        """See SnapshotStore."""
        folder = self.path(location)

        def measured() -> tuple[SnapshotFile, ...]:
            _check(folder, files)
            # They were just written, so they are read from the page cache.
            return tuple(file.model_copy(update={"digest": digest_of(folder / file.name)}) for file in files)

        return await in_thread(measured)

    def locations(self) -> set[str]:
        """Every location that has a folder."""
        return {path.relative_to(self.root).as_posix() for path in self.root.glob(LOCATIONS)}


def digest_of(path: Path) -> str:
    """The digest of a file's content, in the form that SnapshotFile has. Raises OSError."""
    with path.open("rb") as stream:
        return f"xxh128:{hashlib.file_digest(stream, xxhash.xxh3_128).hexdigest()}"


@lru_cache(maxsize=1024)  # each attempt asks some ten times for the paths of its location
def below(root: Path, location: str) -> Path:
    """The path of a location below a root. Raises ValueError if it would be outside."""
    return root.joinpath(*parts_of(location))


def parts_of(location: str) -> tuple[str, ...]:
    """The parts of a relative path. Raises ValueError if it leads out of its root, or nowhere."""
    parts = PurePosixPath(location).parts
    if not parts or PurePosixPath(location).is_absolute() or ".." in parts:
        raise ValueError(f"not a location: {location!r}")
    return parts


def mark_private(folder: Path) -> None:
    """Put a file into the folder that says that no source table may read what is in it."""
    marker = folder / MARKER
    if not marker.exists():
        marker.write_text(TEXT, encoding="ascii")


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it; it is no error if there is none."""
    # Two callers may remove it at once. Each then fails at a file that the other has already removed.
    while folder.exists():
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            continue


async def in_thread(work: Callable[[], T]) -> T:
    """Do work on the disk in a thread. Raises StoreUnavailable for an OSError."""
    with translate_os_errors():
        return await asyncio.to_thread(work)


@contextmanager
def translate_os_errors() -> Iterator[None]:
    """Raise StoreUnavailable for an OSError."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"The snapshot store failed: {error.strerror or error}") from error


def _check(folder: Path, files: Sequence[SnapshotFile]) -> None:
    """Compare the files on the disk with the writer's list: a lost or truncated file must not be published."""
    found = set(_names_below(folder)) - {MANIFEST}  # left by an earlier call of seal
    if found != {file.name for file in files}:
        raise StoreUnavailable("The files on the disk are not the ones that were written.")
    for file in files:
        if (folder / file.name).lstat().st_size != file.bytes:
            raise StoreUnavailable("A file on the disk is not as it was written.")


def _names_below(folder: Path, prefix: str = "") -> Iterator[str]:
    """The names of all files and links below a folder. Links are not followed, since a snapshot has none."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _names_below(folder / entry.name, f"{prefix}{entry.name}/")
            else:
                yield f"{prefix}{entry.name}"
