"""Lists and reads the remote files of source tables. Every range is held to the version that was listed.

A file whose server says neither an ETag nor the time of its last change is refused: nothing would show that it changed.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import (
    BaseError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import HTTPStore, ObjectStore, S3Store

from orchestrator.model.errors import InputMissing, InputReplaced, InvalidSource, SourceUnavailable
from orchestrator.model.file_patterns import MAX_FILES, is_wild
from orchestrator.model.remote_files import RemoteObject
from orchestrator.model.source_table import Credential
from orchestrator.remote_sources.addresses import Addresses, refusal
from orchestrator.remote_sources.egress_proxy import EgressProxy, server_of
from orchestrator.remote_sources.locations import AllowedUrls, Location, S3Defaults, parse_location

if TYPE_CHECKING:
    from obstore import GetOptions

_LIST_SECONDS = 60.0
# Keys below the folder before the first wildcard, of which a thousand come with a request.
_MOST_LISTED = 100_000
_CLIENT = {"timeout": timedelta(seconds=60), "connect_timeout": timedelta(seconds=10)}
_RETRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
# Opened stores keep their connections for the next query.
_MOST_OPENED = 64
_ETAG, _MODIFIED = "etag:", "modified:"
_EPOCH = datetime.fromtimestamp(0, UTC)
# Where an answer of a server begins in an error: it may quote a key.
_STATUS = re.compile(r"status code: (?P<status>\d{3}[^:<]*)")
_LONGEST_REASON = 200


class RemoteObjects:
    """Opens the files of source tables: URLs that begin as one of `urls`. `s3` says where `s3://` URLs lead."""

    def __init__(self, urls: Sequence[str], s3: S3Defaults) -> None:
        self._allowed = AllowedUrls(urls)
        self._s3 = s3
        trusted = [*self._allowed.servers, *([server_of(s3.endpoint)] if s3.endpoint else [])]
        self.addresses = Addresses(trusted)
        """Decides which servers may be read."""
        self._proxy = EgressProxy(self.addresses)
        self._opened: OrderedDict[tuple[object, ...], ObjectStore] = OrderedDict()

    async def close(self) -> None:
        """End every connection."""
        await self._proxy.close()

    async def open(self, url_pattern: str, credential: Credential | None) -> "ObjectTable":
        """See RemoteServers. A plain file is read without the credential, which PostHog's client always sends."""
        location = parse_location(url_pattern, self._allowed, self._s3)
        await self.addresses.resolve(location.server)
        return ObjectTable(location, await self._store(location, credential), self._proxy)

    async def _store(self, location: Location, credential: Credential | None) -> ObjectStore:
        credential = None if location.bucket is None else credential
        key = (location.origin, location.bucket, location.region, credential)
        if key not in self._opened:
            self._opened[key] = _open(location, credential, await self._proxy.url())
            if len(self._opened) > _MOST_OPENED:
                self._opened.popitem(last=False)
        self._opened.move_to_end(key)
        return self._opened[key]


class ObjectTable:
    """See RemoteTable."""

    def __init__(self, location: Location, objects: ObjectStore, proxy: EgressProxy) -> None:
        self._location = location
        self._objects = objects
        self._proxy = proxy

    async def list_files(self) -> Sequence[RemoteObject]:
        """See RemoteTable. A pattern takes a request for every thousand objects below its first wildcard."""
        location = self._location
        shown = f"{location.base}{location.key}"
        try:
            async with asyncio.timeout(_LIST_SECONDS):
                with self._translated(shown):
                    if is_wild(location.key) and location.bucket is not None:
                        found = await self._matching()
                    else:
                        found = [await obstore.head_async(self._objects, location.key)]
        except FileNotFoundError:
            return []
        except PermissionError:
            raise refusal(f"{shown} cannot be read: its server refuses it. Is the credential right?") from None
        except TimeoutError:
            raise SourceUnavailable(f"The files of {shown} could not be listed in time.") from None
        return sorted(self._object_of(one) for one in found)

    async def read(self, file: RemoteObject, start: int, end: int) -> bytes:
        """See RemoteTable."""
        try:
            with self._translated(file.url):
                return await self._read(file, start, end)
        except PreconditionError:
            raise _replaced(file) from None
        except FileNotFoundError:
            raise InputMissing(f"{file.url} no longer exists.") from None
        except PermissionError:
            raise InputMissing(f"{file.url} may not be read any more: its server refuses it.") from None

    async def _read(self, file: RemoteObject, start: int, end: int) -> bytes:
        options: GetOptions = {"range": (start, end)}
        kind, _, value = file.version.partition(":")
        if f"{kind}:" == _ETAG:
            options["if_match"] = value
        else:
            options["if_unmodified_since"] = datetime.fromisoformat(value)
        found = await obstore.get_async(self._objects, file.url.removeprefix(self._location.base), options=options)
        content = bytearray()
        # Not all that it sends: a server may send more than it says.
        async for some in found.stream():
            content += some
            if len(content) > end - start:
                raise _replaced(file)
        # Some servers know no conditions.
        if _version_of(found.meta) != file.version or found.meta["size"] != file.size or len(content) != end - start:
            raise _replaced(file)
        return bytes(content)

    async def _matching(self) -> list[Any]:
        found: list[Any] = []
        listed = 0
        async for some in obstore.list(self._objects, self._location.prefix or None):
            listed += len(some)
            found += [one for one in some if self._location.matches(one["path"])]
            if len(found) > MAX_FILES:
                raise refusal(f"The pattern matches more than {MAX_FILES:,} files.")
            if listed > _MOST_LISTED:
                raise refusal(f"More than {_MOST_LISTED:,} objects are below the first * of the pattern.")
        return found

    def _object_of(self, meta: Any) -> RemoteObject:  # noqa: ANN401 - of the library
        version = _version_of(meta)
        url = f"{self._location.base}{meta['path']}"
        if version is None:
            raise refusal(f"{url}: its server says neither an ETag nor when it was last changed.")
        modified = _modified_of(meta)
        return RemoteObject(url, meta["size"], 0 if modified is None else int(modified.timestamp() * 1e9), version)

    @contextmanager
    def _translated(self, shown: str) -> Iterator[None]:
        """Raise PermissionError, or the error that says why the server could not be read."""
        # Of this server alone: the reason of another one would name what another project reads.
        refused = self._proxy.refusal_of(self._location.server)
        try:
            yield
        except (BaseError, TimeoutError) as error:
            latest = self._proxy.refusal_of(self._location.server)
            if latest is not None and latest is not refused:
                raise InvalidSource(latest.message, attr=latest.attr) from None
            raise _translated(error, shown) from None


def _translated(error: Exception, shown: str) -> Exception:
    if isinstance(error, PreconditionError):
        return error
    if isinstance(error, NotFoundError):
        return FileNotFoundError(shown)
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return PermissionError(shown)
    if isinstance(error, NotSupportedError):
        return refusal(f"{shown} cannot be read: its server gives no parts of a file.")
    return SourceUnavailable(f"{shown} cannot be read at the moment: {_reason(error)}.")


def _open(location: Location, credential: Credential | None, proxy_url: str) -> ObjectStore:
    """The objects of a location. All is said here: the library would take the rest from the environment."""
    client = {**_CLIENT, "proxy_url": proxy_url, "allow_http": location.origin.startswith("http://")}
    if location.bucket is None:
        return HTTPStore.from_url(location.origin, client_options=client, retry_config=_RETRIES)  # type: ignore[arg-type]
    identity: dict[str, Any] = {"skip_signature": True}
    if credential is not None:
        # Not as options: a session token of the environment would be sent with them.
        keys = {"access_key_id": credential.access_key, "secret_access_key": credential.access_secret}
        identity = {"skip_signature": False, "credential_provider": lambda: {**keys, "token": None, "expires_at": None}}
    return S3Store(
        location.bucket,
        endpoint=location.origin,
        region=location.region,
        virtual_hosted_style_request=False,
        client_options=client,  # type: ignore[arg-type]
        retry_config=_RETRIES,  # type: ignore[arg-type]
        **identity,
    )


def _version_of(meta: Any) -> str | None:  # noqa: ANN401 - of the library
    """The version of an object. An ETag that begins with W/ says that the bytes may differ."""
    etag, modified = meta.get("e_tag"), _modified_of(meta)
    if etag and not etag.startswith("W/"):
        return f"{_ETAG}{etag}"
    return None if modified is None else f"{_MODIFIED}{modified.isoformat()}"


def _modified_of(meta: Any) -> datetime | None:  # noqa: ANN401 - of the library
    modified: datetime = meta["last_modified"]
    return None if modified <= _EPOCH else modified


def _replaced(file: RemoteObject) -> InputReplaced:
    return InputReplaced(f"{file.url} was replaced after it was listed.")


def _reason(error: Exception) -> str:
    """The status in an error, or its first words. No more: an answer of a server may quote a key."""
    status = _STATUS.search(str(error))
    if status:
        return f"its server answers {status['status'].strip()}"
    return str(error).partition("\n")[0].partition("<")[0][:_LONGEST_REASON].rstrip(" .:")
