"""Results in an object store that a cluster reads, and into which it writes.

The cluster writes below `staging/`, and the worker copies that to its disk, from where it is measured and uploaded as
any result is. So no key that a cluster writes is one that a version points to: a query that goes on in the cluster
after its attempt was given up changes no version. The reconciler finds all that it leaves, below a location of
`staging/`.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import obstore
from obstore.store import ObjectStore

from orchestrator.aio import each
from orchestrator.model.cluster_files import result_names
from orchestrator.model.errors import InputMissing, StoreUnavailable
from orchestrator.model.remote_files import SCHEME
from orchestrator.model.write_target import WriteTarget
from orchestrator.stores.objects import SEALED, key_of, ranges_of, translate_errors
from orchestrator.stores.staging import in_thread

# Files of one result that are copied, or looked at, at a time.
_AT_A_TIME = 4


class ClusterObjects:
    """The objects below `url`, which are those of the store of results. A ClusterFiles."""

    measure_seconds = 5.0

    def __init__(self, objects: ObjectStore, url: str) -> None:
        self._objects = objects
        self._url = url.rstrip("/")

    def url(self, name: str) -> str:
        """See ClusterFiles."""
        return f"{self._url}/{_sealed_key(name)}"

    def target_url(self, target: WriteTarget) -> str:
        """See ClusterFiles."""
        return target.url

    async def measure(self, target: WriteTarget) -> int:
        """See ClusterFiles. An object counts once it is whole."""
        return sum(size for _, size, _ in await self._written(target))

    async def collect(self, target: WriteTarget, suffix: str) -> None:
        """See ClusterFiles. Each object is held to the ETag that it was listed with."""
        written = await self._written(target)
        parts = {key: (size, etag) for key, size, etag in written if _is_part(key, self._key(target))}
        names = result_names(list(parts), suffix)

        async def copy(key: str) -> None:
            await self._copy(key, *parts[key], target.folder / names[key])

        await each(copy, parts, most=_AT_A_TIME)
        with suppress(StoreUnavailable), translate_errors():  # or they go with the version
            await obstore.delete_async(self._objects, [key for key, _, _ in written])

    async def require(self, files: Mapping[str, int]) -> None:
        """See ClusterFiles. It takes a request for each file."""

        async def look(name: str) -> None:
            size = None
            with translate_errors(), suppress(FileNotFoundError):
                size = (await obstore.head_async(self._objects, _sealed_key(name)))["size"]
            if size != files[name]:
                raise InputMissing("A file of a result that the query reads no longer exists in the object store.")

        await each(look, files, most=_AT_A_TIME)

    def _key(self, target: WriteTarget) -> str:
        return target.url.removeprefix(f"{self._url}/")

    async def _written(self, target: WriteTarget) -> list[tuple[str, int, str | None]]:
        """The key, the size and the ETag of all that is below the URL of an attempt."""
        with translate_errors():
            return [
                (one["path"], one["size"], one["e_tag"])
                async for some in obstore.list(self._objects, self._key(target))
                for one in some
            ]

    async def _copy(self, key: str, size: int, etag: str | None, path: Path) -> None:
        with path.open("wb") as file:
            async for some in ranges_of(self._objects, key, 0, size, etag):
                await in_thread(partial(file.write, some))


def _sealed_key(name: str) -> str:
    return key_of(SEALED, name.removeprefix(SCHEME))


def _is_part(key: str, folder: str) -> bool:
    """Whether it is a file of the result, and not one that the cluster keeps for itself in a folder of its own."""
    return key.endswith(".parquet") and "/" not in key.removeprefix(f"{folder}/")
