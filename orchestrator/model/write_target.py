"""Where a run writes its result, for engines and stores, which do not import one another."""

from pathlib import Path
from typing import Self

from orchestrator.model.base import Value
from orchestrator.model.errors import StoreUnavailable


class WriteTarget(Value):
    """Where a run writes its result: an existing, empty folder that only this run uses.

    `url` names it for an engine that writes remotely. `path` is the same folder on the local disk, or None if the store
    has none there.
    """

    url: str
    path: Path | None = None

    @classmethod
    def local(cls, path: Path) -> Self:
        """A folder on the local disk."""
        return cls(url=path.absolute().as_uri(), path=path)

    @property
    def folder(self) -> Path:
        """The folder on the local disk. Raises StoreUnavailable if there is none."""
        if self.path is None:
            raise StoreUnavailable(f"{self.url} is not on the local disk, and this engine writes to one.")
        return self.path
