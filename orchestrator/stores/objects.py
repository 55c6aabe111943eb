"""A snapshot store in an object store: S3 and what speaks its protocol, Google Cloud Storage, Azure.

Results are written on this machine's disk and then uploaded, the manifest last, and only if there is none yet: a
location is sealed once it has a manifest. The names are those of the store on a disk, so that a copy of all objects is
one. Objects cannot be renamed or linked, so there are no paths `current/…`.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store, from_url

from orchestrator.aio import each
from orchestrator.model.errors import InputMissing, StoreUnavailable
from orchestrator.model.remote_files import SCHEME
from orchestrator.model.snapshot import SnapshotFile
from orchestrator.model.write_target import WriteTarget
from orchestrator.stores.base import MANIFEST
from orchestrator.stores.staging import Staging, in_thread, parts_of, remove

SEALED, METADATA = "snapshots", "iceberg"
# Clusters write below it, and nothing else does.
STAGED = "staging"
_ROOTS = (SEALED, METADATA, STAGED)
_CHUNK_BYTES = 1 << 20
_PART_BYTES = 8 << 20
# A request may take a minute with all its retries, and a client that reads a large file slowly takes longer.
_RANGE_BYTES = 8 << 20
_LOCATION_PARTS = 3
# Files of one result that are uploaded at a time, each in several parts at a time.
_UPLOADS, _PARTS = 4, 4
# How many objects have their ETag remembered, which is some hundred bytes each.
_MOST_ETAGS = 20_000
_LONGEST_REASON = 300
_CLIENT = {"timeout": timedelta(seconds=60), "connect_timeout": timedelta(seconds=5)}
_RETRIES = {"max_retries": 8, "retry_timeout": timedelta(seconds=60)}


def open_objects(url: str, options: Mapping[str, str]) -> ObjectStore:
    """The objects below a URL such as `s3://bucket/prefix`. Raises ValueError if it is none, or an option is unknown.

    Without keys in `options`, the machine's own identity is used: its environment, or the role that it runs in.
    """
    scheme = url.partition("://")[0]
    config = dict(options)
    if scheme == "s3":
        config |= {"checksum_algorithm": "SHA256"}
        if "endpoint" in config:  # such servers seldom have a name for each bucket
            config |= {"virtual_hosted_style_request": "false"}
    client = _CLIENT | {"allow_http": config.get("endpoint", "").startswith("http://")}
    try:
        found: ObjectStore = from_url(url, config=config, client_options=client, retry_config=_RETRIES)  # type: ignore[call-overload]
    except BaseError as error:
        raise ValueError(f"{url} cannot be opened as an object store: {_reason(error)}") from None
    return found


class ObjectSnapshotStore:
    """Keeps results in `objects`. They are written below the folder `root` first. Copies to read are in `temp_dir`.

    `url` is that of the objects, for engines that write there. Without it none does.
    """

    has_current_paths = False

    def __init__(self, objects: ObjectStore, root: Path, temp_dir: Path, *, url: str | None = None) -> None:
        self._url = url
        self._objects = objects
        self._temp_dir = temp_dir
        self._staging = Staging(root / "staging")
        # An object of a sealed location never changes. To hold to its ETag costs nothing, and shows if it did.
        self._etags: OrderedDict[str, str] = OrderedDict()

    async def stage(self, location: str) -> WriteTarget:
        """See SnapshotStore."""
        project = self._staging.root / parts_of(location)[0]

        def make() -> tuple[Path, Path]:
            return self._staging.make(location), project.resolve()

        staged, shared = await in_thread(make)
        target = WriteTarget.local(staged, (None, shared))
        if self._url is None:
            return target
        return target.model_copy(update={"url": f"{self._url.rstrip('/')}/{key_of(STAGED, location)}"})

    def background_fsync(self, location: str) -> AbstractAsyncContextManager[None]:
        """See SnapshotStore. An upload needs no file on the disk to be durable."""
        self._staging.path(location)
        return nullcontext()

    async def measure(self, location: str, files: Sequence[SnapshotFile]) -> tuple[SnapshotFile, ...]:
        """See SnapshotStore."""
        return await self._staging.measure(location, files)

    async def seal(self, location: str, files: Sequence[SnapshotFile], manifest: bytes) -> None:
        """See SnapshotStore."""
        staged = self._staging.path(location)
        if not await in_thread(staged.is_dir) and await self._has(key_of(SEALED, location, MANIFEST)):
            return  # sealed by an earlier call

        async def upload(file: SnapshotFile) -> None:
            await self._put_file(key_of(SEALED, location, file.name), staged / file.name)

        await each(upload, files, most=_UPLOADS)
        key = key_of(SEALED, location, MANIFEST)
        if not await self._create(key, manifest) and await self._content(key) != manifest:
            raise StoreUnavailable(f"Another result is in the object store at {location}.")
        await in_thread(lambda: remove(staged))

    async def discard(self, location: str) -> None:
        """See SnapshotStore."""
        staged = self._staging.path(location)
        await in_thread(lambda: remove(staged))
        keys = []
        for root in _ROOTS:
            keys += [key async for key, _ in self._list(key_of(root, location))]
        # The manifest goes first: without it nothing takes the rest for a result.
        keys.sort(key=lambda key: not key.endswith(f"/{MANIFEST}"))
        if keys:
            with translate_errors():
                await obstore.delete_async(self._objects, keys)

    async def list_locations(self) -> list[str]:
        """See SnapshotStore. It takes a request for every thousand objects."""
        found = await in_thread(self._staging.locations)
        for root in _ROOTS:
            async for key, _ in self._list(root):
                found.add("/".join(PurePosixPath(key).parts[1 : 1 + _LOCATION_PARTS]))
        return sorted(found)

    async def is_whole(self, location: str, files: Sequence[SnapshotFile]) -> bool:
        """See SnapshotStore."""
        folder = key_of(SEALED, location)
        sizes = {key.removeprefix(f"{folder}/"): size async for key, size in self._list(folder)}
        return all(sizes.get(file.name) == file.bytes for file in files)

    async def manifest(self, location: str) -> bytes:
        """See SnapshotStore."""
        return await self._content(key_of(SEALED, location, MANIFEST))

    async def project_folder(self, project_id: int) -> str | None:  # noqa: ARG002 - it is the same for all
        """See SnapshotStore. There is none: what a query may read is settled for each."""
        return None

    @asynccontextmanager
    async def open_file(self, location: str, file_name: str) -> AsyncIterator["_Object"]:
        """See SnapshotStore. A lease keeps the version from being deleted before."""
        key = key_of(SEALED, location, file_name)
        with translate_errors():
            found = await obstore.head_async(self._objects, key)
        yield _Object(self._objects, key, found["size"], found["e_tag"])

    async def signed_url(self, location: str, file_name: str, lasts: timedelta) -> str | None:
        """See SnapshotStore."""
        if not isinstance(self._objects, S3Store | GCSStore | AzureStore):
            return None
        with translate_errors():
            return await obstore.sign_async(self._objects, "GET", key_of(SEALED, location, file_name), lasts)

    @asynccontextmanager
    async def on_disk(self, location: str, file_name: str) -> AsyncIterator[Path]:
        """See SnapshotStore."""
        await in_thread(partial(self._temp_dir.mkdir, parents=True, exist_ok=True))
        copy = await in_thread(partial(NamedTemporaryFile, prefix="object-", dir=self._temp_dir))
        try:
            async with self.open_file(location, file_name) as file:
                async for chunk in file.chunks(0, None):
                    await in_thread(partial(copy.write, chunk))
            await in_thread(copy.flush)
            yield Path(copy.name)
        finally:
            await in_thread(copy.close)

    async def add_metadata(self, location: str, name: str, content: bytes) -> None:
        """See SnapshotStore."""
        await self._create(self.metadata_path(location, name), content)

    async def has_metadata(self, location: str, name: str) -> bool:
        """See SnapshotStore."""
        return await self._has(self.metadata_path(location, name))

    def relative_path(self, location: str, file_name: str) -> str:
        """See SnapshotStore."""
        return key_of(SEALED, location, file_name)

    def metadata_path(self, location: str, name: str) -> str:
        """See SnapshotStore."""
        return key_of(METADATA, location, name)

    async def point_current(self, project_id: int, locations: Mapping[str, str | None]) -> None:
        """See SnapshotStore. There is no such path."""

    async def list_current(self) -> dict[tuple[int, str], str]:
        """See SnapshotStore. There is no such path."""
        return {}

    def file_url(self, location: str, file_name: str) -> str:
        """See SnapshotStore."""
        return f"{SCHEME}{key_of('', location, file_name)}"

    async def read(self, url: str, start: int, end: int) -> bytes:
        """The bytes of a file from `start` to before `end`, by the URL that `file_url` gave.

        Raises InputMissing if it no longer exists, and StoreUnavailable, also if the object was replaced since it was
        first read.
        """
        key = key_of(SEALED, url.removeprefix(SCHEME))
        known = self._etags.get(key)
        options: dict[str, object] = {"range": (start, end)}
        if known is not None:
            options["if_match"] = known
        with translate_errors():
            try:
                found = await obstore.get_async(self._objects, key, options=options)  # type: ignore[arg-type]
            except FileNotFoundError:
                raise InputMissing("A file of a result no longer exists in the object store.") from None
            content = bytes(await found.bytes_async())
        self._hold(key, found.meta["e_tag"])
        return content

    def _hold(self, key: str, etag: str | None) -> None:
        """Remember the ETag of an object. Raises StoreUnavailable if another one was seen before.

        Of several threads that read it for the first time at once, none knew one to ask for.
        """
        if etag is None:
            return
        if self._etags.setdefault(key, etag) != etag:
            raise StoreUnavailable("An object of a result was replaced while it was read.")
        self._etags.move_to_end(key)
        if len(self._etags) > _MOST_ETAGS:
            self._etags.popitem(last=False)

    async def _put_file(self, key: str, path: Path) -> None:
        with translate_errors():
            await obstore.put_async(self._objects, key, path, chunk_size=_PART_BYTES, max_concurrency=_PARTS)

    async def _create(self, key: str, content: bytes) -> bool:
        """Write an object; False if it is there already."""
        with translate_errors():
            try:
                await obstore.put_async(self._objects, key, content, mode="create")
            except AlreadyExistsError:
                return False
        return True

    async def _content(self, key: str) -> bytes:
        with translate_errors():
            found = await obstore.get_async(self._objects, key)
            return bytes(await found.bytes_async())

    async def _has(self, key: str) -> bool:
        with translate_errors(), suppress(FileNotFoundError):
            await obstore.head_async(self._objects, key)
            return True
        return False

    async def _list(self, folder: str) -> AsyncIterator[tuple[str, int]]:
        """The key and the size of each object below a folder."""
        with translate_errors():
            async for some in obstore.list(self._objects, folder):
                for one in some:
                    yield one["path"], one["size"]


class _Object:
    def __init__(self, objects: ObjectStore, key: str, size: int, etag: str | None) -> None:
        self._objects = objects
        self._key = key
        self._size = size
        self._etag = etag

    async def chunks(self, start: int, end: int | None) -> AsyncIterator[bytes]:
        """See StoredFile. Without an `end`, up to the last byte."""
        last = self._size if end is None else end
        async for some in ranges_of(self._objects, self._key, start, last, self._etag):
            content = memoryview(some)
            for at in range(0, len(content), _CHUNK_BYTES):
                yield bytes(content[at : at + _CHUNK_BYTES])


async def ranges_of(objects: ObjectStore, key: str, start: int, end: int, etag: str | None) -> AsyncIterator[bytes]:
    """The bytes of an object from `start` to before `end`, with a request for every eight MiB.

    Raises StoreUnavailable, also if the object has another ETag by then.
    """
    for first in range(start, end, _RANGE_BYTES):
        last = min(end, first + _RANGE_BYTES)
        options = {"range": (first, last)} | ({"if_match": etag} if etag else {})
        with translate_errors():
            found = await obstore.get_async(objects, key, options=options)  # type: ignore[arg-type]
            content = bytes(await found.bytes_async())
        if len(content) != last - first:
            raise StoreUnavailable("An object is shorter than it was.")
        yield content


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise StoreUnavailable for an error of the object store."""
    try:
        yield
    except (BaseError, FileNotFoundError, PermissionError, TimeoutError) as error:
        raise StoreUnavailable(f"The object store failed: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The first line of an error. It names addresses and objects, and no secret: those are in headers of requests."""
    return str(error).partition("\n")[0][:_LONGEST_REASON]


def key_of(*parts: str) -> str:
    """The key of an object. Raises ValueError if a part leads out of its folder."""
    return "/".join(piece for part in parts if part for piece in parts_of(part))
