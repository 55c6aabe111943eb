"""Reads the URL of a table of a database, and the servers that the operator allows."""

import re
import ssl
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from orchestrator.model.file_patterns import MAX_PATTERN_LENGTH
from orchestrator.model.source_table import SourceFormat
from orchestrator.remote_sources.addresses import Server, refusal

VERIFY_FULL, DISABLE = "verify-full", "disable"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_PORTS = {SourceFormat.POSTGRESQL: 5432, SourceFormat.MYSQL: 3306}
_FORMATS = {
    "postgresql": SourceFormat.POSTGRESQL,
    "postgres": SourceFormat.POSTGRESQL,
    "mysql": SourceFormat.MYSQL,
}
_FORMS = {
    SourceFormat.POSTGRESQL: "postgresql://host:5432/database/schema.table",
    SourceFormat.MYSQL: "mysql://host:3306/database.table",
}
_SETTING = "MATVIEW_SOURCE_DATABASES"


class Tls(NamedTuple):
    """How a server is connected to: a mode of libpq, and the file of the authorities that are trusted."""

    mode: str
    authorities: str | None = None


class TableLocation(NamedTuple):
    """A table of a database. MySQL has no schemas in its databases: `schema` is empty there."""

    format: SourceFormat
    server: Server
    database: str
    schema: str
    table: str

    @property
    def shown(self) -> str:
        """The table as people write it."""
        return f"{self.schema or self.database}.{self.table}"


class AllowedServers:
    """The servers that the operator allows, each as `host:port`, with `?sslmode=…` and `&sslrootcert=…` behind it."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._tls: dict[Server, Tls] = {}
        for entry in entries:
            server, _, options = entry.partition("?")
            host, _, port = server.rpartition(":")
            given = dict(one.partition("=")[::2] for one in options.split("&"))
            name = host.strip("[]").lower().rstrip(".")
            mode = given.get("sslmode", DISABLE if name in _LOOPBACK else VERIFY_FULL)
            self._tls[Server(name, int(port))] = Tls(mode, given.get("sslrootcert") or _authorities())

    @property
    def servers(self) -> Sequence[Server]:
        """All of them."""
        return [*self._tls]

    def tls_of(self, server: Server) -> Tls:
        """How to connect to a server. Raises InvalidSource if it is not allowed."""
        if server not in self._tls:
            raise refusal(
                f"The operator does not allow source tables to read the database at {server.host}:{server.port}: "
                f"{_SETTING} names the servers that may be read."
            )
        return self._tls[server]


def parse_table(url: str, source_format: SourceFormat) -> TableLocation:
    """The table that a URL names. Raises InvalidSource if it names none, or one of another format."""
    if len(url) > MAX_PATTERN_LENGTH:
        raise refusal(f"Ensure this field has no more than {MAX_PATTERN_LENGTH} characters.")
    found = _FORMATS.get(url.partition("://")[0].lower())
    if found is not source_format:
        wrong = f"{source_format} tables begin with {source_format.lower()}://" if found is None else ""
        raise refusal(wrong or f"The format of a table at this URL is {found}, and not {source_format}.")
    if not url.isprintable() or any(one in url for one in ' \\*?#"'):
        raise refusal(f"The URL holds characters that it may not have. {_advice(found)}")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise refusal(f"The URL is not valid. {_advice(found)}") from None
    if "@" in parts.netloc:
        raise refusal(
            "The URL has a user in it, which every reader of the table would see. Give user and password as the "
            "credential: its access_key and access_secret."
        )
    if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", host):
        raise refusal(f"The URL names no server. {_advice(found)}")
    server = Server(host.lower(), _PORTS[found] if port is None else port)
    return TableLocation(found, server, *_names_of(parts.path, found))


def _names_of(path: str, of: SourceFormat) -> tuple[str, str, str]:
    segments = path.removeprefix("/").split("/")
    if of is SourceFormat.POSTGRESQL:
        database, _, rest = path.removeprefix("/").partition("/")
        schema, _, table = rest.partition(".")
        names = (database, schema, table)
        is_whole = len(segments) == 2 and all(names)  # noqa: PLR2004 - the database, and the table in it
    else:
        database, _, table = segments[0].partition(".")
        names = (database, "", table)
        is_whole = len(segments) == 1 and bool(database and table)
    if not is_whole or "." in names[2]:
        raise refusal(f"The URL names no table. {_advice(of)} A dot in a name is written %2E.")
    database, schema, table = map(unquote, names)
    if not all(one.isprintable() for one in (database, schema, table)):
        raise refusal(f"A name in the URL holds characters that no name has. {_advice(of)}")
    return database, schema, table


def _advice(of: SourceFormat) -> str:
    return f"It is written like {_FORMS[of]}."


def _authorities() -> str | None:
    """The file of the authorities that this machine trusts."""
    return ssl.get_default_verify_paths().cafile
