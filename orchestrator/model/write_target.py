"""Where a run writes its result, for engines and stores, which do not import one another."""

from pathlib import Path
from typing import Self

from orchestrator.model.base import Value
from orchestrator.model.errors import StoreUnavailable


class WriteTarget(Value):
    """Where a run writes its result: an existing, empty folder that only this run uses.

    `url` names it for an engine that writes remotely. `path` is the folder on the local disk from which the result is
    sealed: the same one, unless the store is elsewhere. None if the store has none there. `shared` are the folders of
    all results of its project: of the sealed ones, and of those that are being written, among which `path` is. The
    first is None if the store has its sealed results elsewhere. None if the store has no such folders.
    """

    url: str
    path: Path | None = None
    shared: tuple[Path | None, Path] | None = None

    @classmethod
    def local(cls, path: Path, shared: tuple[Path | None, Path] | None = None) -> Self:
        """A folder on the local disk."""
        return cls(url=path.absolute().as_uri(), path=path, shared=shared)

    @property
    def folder(self) -> Path:
        """The folder on the local disk. Raises StoreUnavailable if there is none."""
        if self.path is None:
            raise StoreUnavailable(f"{self.url} is not on the local disk, and this engine writes to one.")
        return self.path
