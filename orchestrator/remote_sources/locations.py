"""Reads the URL of a source table: which server, which bucket, which keys.

Buckets are read by S3's protocol, which Amazon, Google, Cloudflare and most other object stores speak. Any other HTTPS
address is one file.
"""

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from orchestrator.model.file_patterns import MAX_PATTERN_LENGTH, fits, is_visible, is_wild
from orchestrator.remote_sources.addresses import Server, refusal
from orchestrator.remote_sources.egress_proxy import server_of

_REGION = r"(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)"
_BUCKET = r"(?P<bucket>[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)"
_AMAZON = r"amazonaws\.com(?:\.cn)?"
# The names of servers that speak S3: with the bucket in the name, or in the path.
_WITH_BUCKET = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_BUCKET}\.(?P<service>s3(?:\.dualstack)?(?:[.-]{_REGION})?\.{_AMAZON})",
        rf"{_BUCKET}\.(?P<service>storage\.googleapis\.com)",
    )
)
_WITHOUT_BUCKET = tuple(
    re.compile(pattern)
    for pattern in (
        rf"s3(?:\.dualstack)?(?:[.-]{_REGION})?\.{_AMAZON}",
        r"storage\.googleapis\.com",
        r"[0-9a-f]+(?:\.(?:eu|fedramp))?\.r2\.cloudflarestorage\.com",
    )
)
_GOOGLE = "https://storage.googleapis.com"
_DEFAULT_REGION = "us-east-1"


class S3Defaults(NamedTuple):
    """Where `s3://` URLs lead: to this server and region, or to Amazon."""

    endpoint: str | None = None
    region: str | None = None


class Location(NamedTuple):
    """The files of a source table.

    `origin` is the scheme, name and port of the server. `bucket` is None for a file at a plain HTTPS address. `key` is
    the pattern of keys, or the path, without a leading slash. `base` and a key make the URL that people see.
    """

    origin: str
    server: Server
    bucket: str | None
    region: str
    key: str
    base: str

    @property
    def prefix(self) -> str:
        """The folder below which all keys that match are."""
        segments = self.key.split("/")[:-1]
        return "/".join(takewhile(lambda segment: not is_wild(segment), segments))

    def matches(self, key: str) -> bool:
        """Whether a key fits the pattern."""
        names, patterns = key.split("/"), self.key.split("/")
        return len(names) == len(patterns) and all(
            is_visible(name, pattern) and fits(name, pattern) for name, pattern in zip(names, patterns, strict=True)
        )


class AllowedUrls:
    """The beginnings of URLs that the operator allows, such as `https://`, `s3://bucket/` or `http://minio:9000/`."""

    def __init__(self, beginnings: Sequence[str]) -> None:
        self._beginnings = [_split(one) for one in beginnings]
        self.servers = frozenset(
            server_of(one) for one in beginnings if one.startswith(("http://", "https://")) and _split(one)[1]
        )
        """The servers that are named."""

    def allows(self, url: str) -> bool:
        """Whether a URL begins with one of them, up to the end of a name."""
        scheme, host, path = _split(url)
        return any(
            scheme == of and host_of in {"", host} and f"{path}/".startswith(f"{path_of.rstrip('/')}/")
            for of, host_of, path_of in self._beginnings
        )


def parse_location(url_pattern: str, allowed: AllowedUrls, defaults: S3Defaults) -> Location:
    """The location of a URL. Raises InvalidSource if it cannot be one, or is not allowed."""
    if len(url_pattern) > MAX_PATTERN_LENGTH:
        raise refusal(f"Ensure this field has no more than {MAX_PATTERN_LENGTH} characters.")
    if not url_pattern.isprintable() or "\\" in url_pattern or " " in url_pattern.partition("://")[2].partition("/")[0]:
        raise refusal("The URL holds characters that a URL does not have.")
    scheme, host, path = _split(url_pattern)
    if scheme in {"http", "https"}:
        found = _web_location(scheme, url_pattern, allowed)
    elif scheme in {"s3", "gs"}:
        found = _bucket_location(scheme, host, path, defaults)
    else:
        raise refusal(f"{scheme}:// is not read: a source table is at a path, or at an s3://, gs:// or https:// URL.")
    if not allowed.allows(url_pattern):
        raise refusal(
            f"The operator does not allow source tables to read {scheme}://{host}{path}: MATVIEW_SOURCE_URLS."
        )
    _check_key(found)
    return found


def _web_location(scheme: str, url: str, allowed: AllowedUrls) -> Location:
    parts = urlsplit(url)
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise refusal(
            "The URL has a name, a query or a fragment in it. A signed URL is a secret that every reader of the table "
            "would see: give the credential of the bucket instead."
        )
    server = server_of(url)
    if scheme == "http" and server not in allowed.servers:
        raise refusal(f"{server.host} is read over HTTPS only: the URL begins with https://.")
    key = parts.path.removeprefix("/")
    host = f"[{server.host}]" if ":" in server.host else server.host
    origin = f"{scheme}://{host}" + (f":{server.port}" if parts.port is not None else "")
    for pattern in _WITH_BUCKET:
        if found := pattern.fullmatch(server.host):
            of = found["service"]
            service = Server(of, server.port)
            return Location(f"https://{of}", service, found["bucket"], _region(found), unquote(key), f"{origin}/")
    known = next((found for pattern in _WITHOUT_BUCKET if (found := pattern.fullmatch(server.host))), None)
    if known or server in allowed.servers:
        bucket, _, rest = key.partition("/")
        region = _region(known) if known else _DEFAULT_REGION
        if bucket and rest and not is_wild(bucket):
            return Location(origin, server, bucket, region, unquote(rest), f"{origin}/{bucket}/")
    if is_wild(key):
        raise refusal(
            f"{server.host} is not known as an object store, so that its files cannot be listed: the URL of a single "
            "file has no * in it. An operator may name a server that speaks S3 in MATVIEW_SOURCE_URLS."
        )
    return Location(origin, server, None, "", unquote(key), f"{origin}/")


def _bucket_location(scheme: str, bucket: str, path: str, defaults: S3Defaults) -> Location:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", bucket):
        raise refusal(f"The URL names a bucket and files in it, as in {scheme}://bucket/folder/*.parquet.")
    region = defaults.region or _DEFAULT_REGION
    origin = _GOOGLE if scheme == "gs" else defaults.endpoint or f"https://s3.{region}.amazonaws.com"
    base = f"{scheme}://{bucket}/"
    return Location(origin, server_of(origin), bucket, region, path.removeprefix("/"), base)


def _region(found: "re.Match[str]") -> str:
    return found.groupdict().get("region") or _DEFAULT_REGION


def _check_key(location: Location) -> None:
    segments = location.key.split("/")
    if not location.key or not segments[-1]:
        raise refusal("The URL names no file: it ends with a name or a pattern, as in s3://bucket/folder/*.parquet.")
    if any(segment in {"", ".", ".."} for segment in segments) or not location.key.isprintable():
        raise refusal("The URL may hold no empty segment, and neither '.' nor '..'.")
    if any("**" in segment for segment in segments):
        raise refusal("'**' is not supported: '*' matches within one folder.")


def _split(url: str) -> tuple[str, str, str]:
    """The scheme, the name with the port, and the path; the first two in small letters. Raises InvalidSource."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return scheme.lower(), host.lower(), f"{slash}{path}"
