"""The protocol of a snapshot store. Callers use only this protocol, never a store's own classes."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from orchestrator.model.snapshot import SnapshotFile
from orchestrator.model.write_target import WriteTarget

MANIFEST = "manifest.json"


class StoredFile(Protocol):
    """An open file."""

    def chunks(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end`, in parts of at most a mebibyte. Raises StoreUnavailable."""


class SnapshotStore(Protocol):
    """Keeps immutable folders of Parquet files, each under a location: a relative path that is used once.

    File names are relative to the location's folder, and may include a folder of it, as in `quarantine/0.parquet`.

    Each location is staged, written to, measured and sealed, in this order. Nothing reads a staged folder. A sealed
    folder never changes; it can only be deleted. The store does not know whether a sealed folder is *visible*: one
    pointer in the catalog decides that. Every method raises StoreUnavailable if the disk or the service fails, and may
    be repeated.
    """

    @property
    def has_current_paths(self) -> bool:
        """Whether `point_current` makes paths."""

    async def stage(self, location: str) -> WriteTarget:
        """A new, empty folder to write into. Files that an earlier call left there are removed."""

    def background_fsync(self, location: str) -> AbstractAsyncContextManager[None]:
        """Flush the files of a staged folder while they are written, so that sealing takes less time.

        If the body of the context fails, the context ends at once. Otherwise it raises StoreUnavailable if a flush
        failed.
        """

    async def measure(self, location: str, files: Sequence[SnapshotFile]) -> tuple[SnapshotFile, ...]:
        """The staged files with their digests, after a comparison with `files`, the list of their writer.

        Raises StoreUnavailable if a file is missing, not as it was written, or not in the list.
        """

    async def seal(self, location: str, files: Sequence[SnapshotFile], manifest: bytes) -> None:
        """Put the manifest beside the measured files, make all of it durable, and move it to its final place."""

    async def discard(self, location: str) -> None:
        """Remove all files of a location, staged or sealed. It is no error if there are none."""

    async def list_locations(self) -> list[str]:
        """Every location that has a folder, staged or sealed."""

    async def is_whole(self, location: str, files: Sequence[SnapshotFile]) -> bool:
        """Whether the sealed folder has these files, each with its size."""

    async def manifest(self, location: str) -> bytes:
        """The manifest of a sealed folder."""

    async def project_folder(self, project_id: int) -> str | None:
        """The path or URL below which all sealed folders of a project are; None if there is none yet."""

    def open_file(self, location: str, file_name: str) -> AbstractAsyncContextManager[StoredFile]:
        """A file of a sealed folder, which can be read until the context ends.

        A store on a disk reads it to its end also if it is deleted before.
        """

    async def signed_url(self, location: str, file_name: str, lasts: timedelta) -> str | None:
        """A URL at which a file of a sealed folder can be read for so long, without a key; None if there is none."""

    def on_disk(self, location: str, file_name: str) -> AbstractAsyncContextManager[Path]:
        """The path of a file of a sealed folder on this machine's disk, or of a copy of it, until the context ends."""

    async def add_metadata(self, location: str, name: str, content: bytes) -> None:
        """Put a file beside a sealed folder, under `metadata_path`. It appears complete, and goes with the folder.

        A file that is there already is left as it is.
        """

    async def has_metadata(self, location: str, name: str) -> bool:
        """Whether that file is there."""

    def relative_path(self, location: str, file_name: str) -> str:
        """The path of a file of a sealed folder below the root of the store."""

    def metadata_path(self, location: str, name: str) -> str:
        """The path of a metadata file below the root of the store."""

    async def point_current(self, project_id: int, locations: Mapping[str, str | None]) -> None:
        """Make `current/<project>/<name>` lead to a sealed folder, for each name, atomically; None removes it.

        It is for people and tools that read files by a path which stays. Only the catalog decides what is current.
        """

    async def list_current(self) -> dict[tuple[int, str], str]:
        """The location that each such path leads to, by project and name."""

    def file_url(self, location: str, file_name: str) -> str:
        """The path or URL by which DuckDB reads a file of a sealed folder."""
