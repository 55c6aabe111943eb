"""What a snapshot store promises. Callers hold this protocol, never a store's own classes."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from orchestrator.model.snapshot import SnapshotFile
from orchestrator.model.write_target import WriteTarget

MANIFEST = "manifest.json"


class SnapshotStore(Protocol):
    """Keeps immutable folders of Parquet files, each under a location: a relative path that is used once.

    The names of files are relative to the location's folder and may lie in folders of it, as `quarantine/0.parquet`.

    A location goes through one door: staged, written to, measured, sealed. Nothing reads a staged folder, and nothing
    changes a sealed one; it is only ever deleted. Whether a sealed folder is *visible* is not the store's to say: that
    is one pointer in the catalog. Every method raises StoreUnavailable if the disk or the service fails, and may be
    repeated.
    """

    async def stage(self, location: str) -> WriteTarget:
        """A new, empty folder to write into. Files of an earlier attempt there are removed."""

    def background_fsync(self, location: str) -> AbstractAsyncContextManager[None]:
        """Make what is written to a staged folder durable bit by bit meanwhile, so that sealing waits for less.

        Ends at once if what is inside fails. Otherwise it raises StoreUnavailable if something could not be flushed.
        """

    async def measure(self, location: str, files: Sequence[SnapshotFile]) -> tuple[SnapshotFile, ...]:
        """The staged files with their digests, held against what their writer said of them.

        Raises StoreUnavailable if a file is missing, not as it was written, or one too many.
        """

    async def seal(self, location: str, files: Sequence[SnapshotFile], manifest: bytes) -> None:
        """Put the manifest beside the measured files, make all of it durable, and move it to its final place."""

    async def discard(self, location: str) -> None:
        """Remove all that there is at a location, staged or sealed. Nothing there is not an error."""

    async def list_locations(self) -> list[str]:
        """Every location at which there is something, staged or sealed."""

    async def manifest(self, location: str) -> bytes:
        """The manifest of a sealed folder."""

    def file_url(self, location: str, file_name: str) -> str:
        """The path or URL by which DuckDB reads a file of a sealed folder."""
