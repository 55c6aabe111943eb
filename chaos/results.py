"""The files of results, as the harness looks at them: on the disk of the store, or in a bucket. All methods block."""

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import obstore
from obstore.store import ObjectStore

_SEALED, _STAGED = "snapshots", "staging"
_LOCATION_PARTS = 3


class Results(Protocol):
    """The files of a store, by paths such as `snapshots/<location>/<file>`."""

    def folder(self, location: str) -> AbstractContextManager[Path]:
        """The files of a sealed location, in a folder while the context lasts. Those that are gone are not there."""

    def sizes(self, location: str) -> dict[str, int]:
        """The sizes of the files of a sealed location, by name."""

    def places(self) -> set[str]:
        """All that is there at the depth of a location: root, project, view, and run with attempt."""

    def put(self, path: str, content: bytes) -> None:
        """Write a file."""

    def get(self, path: str) -> bytes | None:
        """The content of a file; None if there is none."""


class ResultsOnDisk:
    """The files below the data folder of a stack."""

    def __init__(self, data: Path) -> None:
        self._data = data

    @contextmanager
    def folder(self, location: str) -> Iterator[Path]:
        """See Results."""
        yield self._data / _SEALED / location

    def sizes(self, location: str) -> dict[str, int]:
        """See Results."""
        found = {}
        for path in (self._data / _SEALED / location).glob("*"):
            with suppress(FileNotFoundError):
                found[path.name] = path.stat().st_size
        return found

    def places(self) -> set[str]:
        """See Results."""
        return {
            path.relative_to(self._data).as_posix()
            for root in (_STAGED, _SEALED)
            for path in (self._data / root).glob("*/*/*")
        }

    def put(self, path: str, content: bytes) -> None:
        """See Results."""
        (self._data / path).parent.mkdir(parents=True)
        (self._data / path).write_bytes(content)

    def get(self, path: str) -> bytes | None:
        """See Results."""
        with suppress(FileNotFoundError):
            return (self._data / path).read_bytes()
        return None


class ResultsInBucket:
    """The objects of a bucket, and the folder on the disk in which results are written first."""

    def __init__(self, objects: ObjectStore, data: Path) -> None:
        self._objects = objects
        self._on_disk = ResultsOnDisk(data)

    @contextmanager
    def folder(self, location: str) -> Iterator[Path]:
        """See Results. The folder is a copy."""
        with tempfile.TemporaryDirectory(prefix="mv-chaos-read-") as made:
            for name in self.sizes(location):
                content = self.get(f"{_SEALED}/{location}/{name}")
                if content is not None:
                    (Path(made) / name).write_bytes(content)
            yield Path(made)

    def sizes(self, location: str) -> dict[str, int]:
        """See Results."""
        root = f"{_SEALED}/{location}"
        found = (one for some in obstore.list(self._objects, root) for one in some)
        return {one["path"].removeprefix(f"{root}/"): one["size"] for one in found}

    def places(self) -> set[str]:
        """See Results."""
        found = (one["path"].split("/") for some in obstore.list(self._objects) for one in some)
        return self._on_disk.places() | {"/".join(parts[: 1 + _LOCATION_PARTS]) for parts in found}

    def put(self, path: str, content: bytes) -> None:
        """See Results."""
        obstore.put(self._objects, path, content)

    def get(self, path: str) -> bytes | None:
        """See Results."""
        with suppress(FileNotFoundError):
            return bytes(obstore.get(self._objects, path).bytes())
        return None
