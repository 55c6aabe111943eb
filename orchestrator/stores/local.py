"""A snapshot store on a local or shared file system."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path, PurePosixPath
from uuid import uuid4

from orchestrator.aio import acquire
from orchestrator.model.errors import StoreUnavailable
from orchestrator.model.snapshot import SnapshotFile
from orchestrator.model.write_target import WriteTarget
from orchestrator.stores.background_fsync import BackgroundFsync
from orchestrator.stores.base import MANIFEST
from orchestrator.stores.staging import LOCATIONS, Staging, below, in_thread, mark_private, remove, translate_os_errors

_CHUNK_BYTES = 1 << 20
_LOCATION_PARTS = 3


class LocalStore:
    """Keeps folders below `root`: in `staging/` those being written, in `snapshots/` the sealed ones.

    These two are on one file system, so that sealing ends in a rename: a folder appears in its final place complete.
    `current/` has a symbolic link for each view, which leads to the folder of its current snapshot. `iceberg/` has
    metadata beside the sealed folders, which never change.
    """

    has_current_paths = True

    def __init__(self, root: Path) -> None:
        self._root = root
        self._staging = Staging(root / "staging")
        self._sealed = root / "snapshots"
        self._current = root / "current"
        self._metadata = root / "iceberg"
        self._flusher = ThreadPoolExecutor(max_workers=1)

    async def stage(self, location: str) -> WriteTarget:
        """See SnapshotStore."""
        staged = self._staging.path(location)
        project = PurePosixPath(location).parts[0]

        def make() -> tuple[Path, Path]:
            self._staging.make(location)
            (self._sealed / project).mkdir(parents=True, exist_ok=True)
            mark_private(self._sealed)  # a backup copies only this one
            return (self._sealed / project).resolve(), (self._staging.root / project).resolve()

        return WriteTarget.local(staged, await in_thread(make))

    @asynccontextmanager
    async def background_fsync(self, location: str) -> AsyncIterator[None]:
        """See SnapshotStore."""
        background_fsync = BackgroundFsync(self._staging.path(location), self._flusher)
        going_on = asyncio.create_task(background_fsync.run())
        try:
            yield
        except BaseException:
            background_fsync.abort()
            raise
        finally:
            going_on.cancel()
        with translate_os_errors():
            await background_fsync.end()

    async def measure(self, location: str, files: Sequence[SnapshotFile]) -> tuple[SnapshotFile, ...]:
        """See SnapshotStore."""
        return await self._staging.measure(location, files)

    async def seal(self, location: str, files: Sequence[SnapshotFile], manifest: bytes) -> None:
        """See SnapshotStore."""
        staged, sealed = self._staging.path(location), below(self._sealed, location)

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

        await in_thread(move)

    async def discard(self, location: str) -> None:
        """See SnapshotStore."""

        def remove_all() -> None:
            for root in (self._staging.root, self._sealed, self._metadata):
                remove(below(root, location))

        await in_thread(remove_all)

    async def list_locations(self) -> list[str]:
        """See SnapshotStore."""

        def found() -> set[str]:
            roots = (self._sealed, self._metadata)
            sealed = {path.relative_to(root).as_posix() for root in roots for path in root.glob(LOCATIONS)}
            return self._staging.locations() | sealed

        return sorted(await in_thread(found))

    async def is_whole(self, location: str, files: Sequence[SnapshotFile]) -> bool:
        """See SnapshotStore."""
        sealed = below(self._sealed, location)

        def are_there() -> bool:
            try:
                return all((sealed / file.name).stat().st_size == file.bytes for file in files)
            except OSError:
                return False

        return await in_thread(are_there)

    async def manifest(self, location: str) -> bytes:
        """See SnapshotStore."""
        return await in_thread((below(self._sealed, location) / MANIFEST).read_bytes)

    async def project_folder(self, project_id: int) -> str | None:
        """See SnapshotStore."""
        folder = self._sealed / str(project_id)
        return str(folder) if await in_thread(folder.is_dir) else None

    async def add_metadata(self, location: str, name: str, content: bytes) -> None:
        """See SnapshotStore."""
        path = self._root / self.metadata_path(location, name)

        def add() -> None:
            if path.exists():
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            mark_private(self._metadata)
            unfinished = path.with_name(f".{uuid4().hex}")
            unfinished.write_bytes(content)
            _fsync(unfinished)  # it is never written again, so a power cut must not leave it empty
            unfinished.replace(path)

        await in_thread(add)

    async def has_metadata(self, location: str, name: str) -> bool:
        """See SnapshotStore."""
        return await in_thread((self._root / self.metadata_path(location, name)).is_file)

    def relative_path(self, location: str, file_name: str) -> str:
        """See SnapshotStore."""
        return (below(self._sealed, location) / file_name).relative_to(self._root).as_posix()

    def metadata_path(self, location: str, name: str) -> str:
        """See SnapshotStore."""
        return (below(self._metadata, location) / name).relative_to(self._root).as_posix()

    async def point_current(self, project_id: int, locations: Mapping[str, str | None]) -> None:
        """See SnapshotStore."""

        def point() -> None:
            for name, location in locations.items():
                self._point(below(self._current, f"{project_id}/{name}"), location)

        await in_thread(point)

    def _point(self, link: Path, location: str | None) -> None:
        if location is None:
            link.unlink(missing_ok=True)
            return
        if not link.parent.is_dir():
            link.parent.mkdir(parents=True)
            mark_private(self._current)
        # A relative path, so that a copy of the whole folder works elsewhere.
        target = os.path.relpath(below(self._sealed, location), link.parent)
        # A name cannot begin with a dot, so no view has this one.
        new = link.with_name(f".{uuid4().hex}")
        new.symlink_to(target)
        new.replace(link)

    async def list_current(self) -> dict[tuple[int, str], str]:
        """See SnapshotStore."""

        def found() -> dict[tuple[int, str], str]:
            links = (path for path in self._current.glob("*/*") if path.is_symlink() and path.parent.name.isdigit())
            return {
                (int(link.parent.name), link.name): "/".join(link.readlink().parts[-_LOCATION_PARTS:]) for link in links
            }

        return await in_thread(found)

    async def signed_url(self, location: str, file_name: str, lasts: timedelta) -> str | None:  # noqa: ARG002 - as objects have it
        """See SnapshotStore. A disk has none."""
        return None

    @asynccontextmanager
    async def open_file(self, location: str, file_name: str) -> AsyncIterator["_LocalFile"]:
        """See SnapshotStore."""
        path = below(self._sealed, location) / file_name
        descriptor = await acquire(in_thread(lambda: os.open(path, os.O_RDONLY)), os.close)
        try:
            yield _LocalFile(descriptor)
        finally:
            os.close(descriptor)

    @asynccontextmanager
    async def on_disk(self, location: str, file_name: str) -> AsyncIterator[Path]:
        """See SnapshotStore."""
        yield below(self._sealed, location) / file_name

    def file_url(self, location: str, file_name: str) -> str:
        """See SnapshotStore."""
        return str(below(self._sealed, location) / file_name)


class _LocalFile:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def chunks(self, start: int, end: int) -> AsyncIterator[bytes]:
        """See StoredFile."""
        while start < end:
            chunk = await in_thread(partial(os.pread, self._descriptor, min(_CHUNK_BYTES, end - start), start))
            if not chunk:
                raise StoreUnavailable("A file on the disk is shorter than it was.")
            yield chunk
            start += len(chunk)


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
