"""What a snapshot store promises. Callers hold this protocol, never a store's own classes."""

from pathlib import Path
from typing import Protocol

from orchestrator.model.snapshot import SnapshotFile


class SnapshotStore(Protocol):
    """Keeps immutable folders of Parquet files, each under a location: a relative path that is used once.

    A location goes through one door: staged, written to, sealed. Nothing reads a staged folder, and nothing changes a
    sealed one; it is only ever deleted. Whether a sealed folder is *visible* is not the store's to say: that is one
    pointer in the catalog. Every method raises StoreUnavailable if the disk or the service fails, and may be repeated.
    """

    async def stage(self, location: str) -> Path:
        """A new, empty folder on the local disk to write into. What an earlier try left there is gone."""

    async def seal(self, location: str, files: tuple[SnapshotFile, ...]) -> None:
        """Check that exactly these files were written, make them durable, and move them to their final place."""

    async def discard(self, location: str) -> None:
        """Remove all that there is at a location, staged or sealed. Nothing there is not an error."""

    def locate(self, location: str, file_name: str) -> str:
        """The path or URL by which DuckDB reads a file of a sealed folder."""
