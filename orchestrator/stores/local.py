"""A snapshot store on a local or shared file system."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar
from uuid import uuid4

import xxhash

from orchestrator.aio import acquire
from orchestrator.model.errors import StoreUnavailable
from orchestrator.model.private_folders import MARKER, TEXT
from orchestrator.model.snapshot import SnapshotFile
from orchestrator.model.write_target import WriteTarget
from orchestrator.stores.background_fsync import BackgroundFsync
from orchestrator.stores.base import MANIFEST

T = TypeVar("T")

_CHUNK_BYTES = 1 << 20

# The folders of a location: the project, the view, and the run with its attempt.
_LOCATIONS = "*/*/*"
_LOCATION_PARTS = 3


class LocalStore:
    """Keeps folders below `root`: in `staging/` those being written, in `snapshots/` the sealed ones.

    These two are on one file system, so that sealing ends in a rename: a folder appears in its final place complete.
    `current/` has a symbolic link for each view, which leads to the folder of its current snapshot. `iceberg/` has
    metadata beside the sealed folders, which never change.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._staging = root / "staging"
        self._sealed = root / "snapshots"
        self._current = root / "current"
        self._metadata = root / "iceberg"
        self._flusher = ThreadPoolExecutor(max_workers=1)

    async def stage(self, location: str) -> WriteTarget:
        """See SnapshotStore."""
        target = _resolve(self._staging, location)

        project = PurePosixPath(location).parts[0]

        def make() -> tuple[Path, Path]:
            _remove(target)
            target.mkdir(parents=True)
            (self._sealed / project).mkdir(parents=True, exist_ok=True)
            for folder in (self._root, self._sealed):  # a backup copies only the second one
                _mark_private(folder)
            return (self._sealed / project).resolve(), (self._staging / project).resolve()

        shared = await _in_thread(make)
        return WriteTarget.local(target, shared)

    @asynccontextmanager
    async def background_fsync(self, location: str) -> AsyncIterator[None]:
        """See SnapshotStore."""
        background_fsync = BackgroundFsync(_resolve(self._staging, location), self._flusher)
        going_on = asyncio.create_task(background_fsync.run())
        try:
            yield
        except BaseException:
            background_fsync.abort()
            raise
        finally:
            going_on.cancel()
        with _translate_os_errors():
            await background_fsync.end()

    async def measure(self, location: str, files: Sequence[SnapshotFile]) -> tuple[SnapshotFile, ...]:
        """See SnapshotStore."""
        staged = _resolve(self._staging, location)

        def measured() -> tuple[SnapshotFile, ...]:
            _check(staged, files)
            # They were just written, so they are read from the page cache.
            return tuple(file.model_copy(update={"digest": digest_of(staged / file.name)}) for file in files)

        return await _in_thread(measured)

    async def seal(self, location: str, files: Sequence[SnapshotFile], manifest: bytes) -> None:
        """See SnapshotStore."""
        staged, sealed = _resolve(self._staging, location), _resolve(self._sealed, location)

        def move() -> None:
            if sealed.exists() and not staged.exists():
                return  # sealed by an earlier call
            (staged / MANIFEST).write_bytes(manifest)
            paths = [staged / file.name for file in files]
            folders = {folder for path in paths for folder in _ancestors(path.parent, staged)}
            for path in [*paths, staged / MANIFEST, *folders, staged]:
                _fsync(path)
            sealed.parent.mkdir(parents=True, exist_ok=True)
            staged.rename(sealed)
            # Each folder above may be new: without its own fsync, a power cut could lose the names in it.
            for folder in _ancestors(sealed.parent, self._sealed.parent):
                _fsync(folder)

        await _in_thread(move)

    async def discard(self, location: str) -> None:
        """See SnapshotStore."""

        def remove() -> None:
            for root in (self._staging, self._sealed, self._metadata):
                _remove(_resolve(root, location))

        await _in_thread(remove)

    async def list_locations(self) -> list[str]:
        """See SnapshotStore."""

        def found() -> set[str]:
            roots = (self._staging, self._sealed, self._metadata)
            return {path.relative_to(root).as_posix() for root in roots for path in root.glob(_LOCATIONS)}

        return sorted(await _in_thread(found))

    async def is_whole(self, location: str, files: Sequence[SnapshotFile]) -> bool:
        """See SnapshotStore."""
        sealed = _resolve(self._sealed, location)

        def are_there() -> bool:
            try:
                return all((sealed / file.name).stat().st_size == file.bytes for file in files)
            except OSError:
                return False

        return await _in_thread(are_there)

    async def manifest(self, location: str) -> bytes:
        """See SnapshotStore."""
        return await _in_thread((_resolve(self._sealed, location) / MANIFEST).read_bytes)

    async def project_folder(self, project_id: int) -> str | None:
        """See SnapshotStore."""
        folder = self._sealed / str(project_id)
        return str(folder) if await _in_thread(folder.is_dir) else None

    async def add_metadata(self, location: str, name: str, content: bytes) -> None:
        """See SnapshotStore."""
        path = self._root / self.metadata_path(location, name)

        def add() -> None:
            if path.exists():
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            _mark_private(self._metadata)
            unfinished = path.with_name(f".{uuid4().hex}")
            unfinished.write_bytes(content)
            _fsync(unfinished)  # it is never written again, so a power cut must not leave it empty
            unfinished.replace(path)

        await _in_thread(add)

    async def has_metadata(self, location: str, name: str) -> bool:
        """See SnapshotStore."""
        return await _in_thread((self._root / self.metadata_path(location, name)).is_file)

    def relative_path(self, location: str, file_name: str) -> str:
        """See SnapshotStore."""
        return (_resolve(self._sealed, location) / file_name).relative_to(self._root).as_posix()

    def metadata_path(self, location: str, name: str) -> str:
        """See SnapshotStore."""
        return (_resolve(self._metadata, location) / name).relative_to(self._root).as_posix()

    async def point_current(self, project_id: int, name: str, location: str | None) -> None:
        """See SnapshotStore."""
        link = _resolve(self._current, f"{project_id}/{name}")

        def point() -> None:
            if location is None:
                link.unlink(missing_ok=True)
                return
            if not link.parent.is_dir():
                link.parent.mkdir(parents=True)
                _mark_private(self._current)
            # A relative path, so that a copy of the whole folder works elsewhere.
            target = os.path.relpath(_resolve(self._sealed, location), link.parent)
            # A name cannot begin with a dot, so no view has this one.
            new = link.with_name(f".{uuid4().hex}")
            new.symlink_to(target)
            new.replace(link)

        await _in_thread(point)

    async def list_current(self) -> dict[tuple[int, str], str]:
        """See SnapshotStore."""

        def found() -> dict[tuple[int, str], str]:
            links = (path for path in self._current.glob("*/*") if path.is_symlink() and path.parent.name.isdigit())
            return {
                (int(link.parent.name), link.name): "/".join(link.readlink().parts[-_LOCATION_PARTS:]) for link in links
            }

        return await _in_thread(found)

    @asynccontextmanager
    async def open_file(self, location: str, file_name: str) -> AsyncIterator["_LocalFile"]:
        """See SnapshotStore."""
        path = _resolve(self._sealed, location) / file_name
        descriptor = await acquire(_in_thread(lambda: os.open(path, os.O_RDONLY)), os.close)
        try:
            yield _LocalFile(descriptor)
        finally:
            os.close(descriptor)

    def file_url(self, location: str, file_name: str) -> str:
        """See SnapshotStore."""
        return str(_resolve(self._sealed, location) / file_name)


class _LocalFile:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def chunks(self, start: int, end: int) -> AsyncIterator[bytes]:
        """See StoredFile."""
        while start < end:
            chunk = await _in_thread(partial(os.pread, self._descriptor, min(_CHUNK_BYTES, end - start), start))
            if not chunk:
                raise StoreUnavailable("A file on the disk is shorter than it was.")
            yield chunk
            start += len(chunk)


def digest_of(path: Path) -> str:
    """The digest of a file's content, in the form that SnapshotFile has. Raises OSError."""
    with path.open("rb") as stream:
        return f"xxh128:{hashlib.file_digest(stream, xxhash.xxh3_128).hexdigest()}"


def _resolve(root: Path, location: str) -> Path:
    parts = PurePosixPath(location).parts
    if not parts or PurePosixPath(location).is_absolute() or ".." in parts:
        raise ValueError(f"not a location: {location!r}")
    return root.joinpath(*parts)


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


def _mark_private(folder: Path) -> None:
    marker = folder / MARKER
    if not marker.exists():
        marker.write_text(TEXT, encoding="ascii")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _ancestors(folder: Path, top: Path) -> Iterator[Path]:
    yield folder
    while folder != top:
        folder = folder.parent
        yield folder


def _remove(folder: Path) -> None:
    # Two callers may remove it at once. Each then fails at a file that the other has already removed.
    while folder.exists():
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            continue


async def _in_thread(work: Callable[[], T]) -> T:
    with _translate_os_errors():
        return await asyncio.to_thread(work)


@contextmanager
def _translate_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"The snapshot store failed: {error.strerror or error}") from error
