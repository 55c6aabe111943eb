"""A session on MySQL or MariaDB: one read-only transaction with a consistent snapshot, as InnoDB gives it."""

import socket
import ssl
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pymysql
from pymysql.constants import CR, ER
from pymysql.cursors import SSCursor

from orchestrator.model.errors import InvalidSource, SourceUnavailable
from orchestrator.remote_sources.addresses import refusal
from orchestrator.remote_sources.databases.locations import DISABLE, VERIFY_FULL, TableLocation, Tls
from orchestrator.remote_sources.databases.mysql_types import batch_of, column_of, quote
from orchestrator.remote_sources.databases.sessions import (
    CONNECT_SECONDS,
    LOCK_SECONDS,
    MOST_ADDRESSES,
    SourceColumn,
    Target,
)

_BATCH_ROWS, _BATCH_BYTES = 10_000, 8 << 20
# The first rows, of which nothing is known yet.
_FIRST_ROWS, _GROWTH = 10, 10
# A server that sends nothing for so long is given up.
_READ_SECONDS = 120
# Numbers of the server: a table that was changed since the transaction began, a lock that was not released, a deadlock,
# an interruption, a limit of connections, a shutdown.
_PASSING = {
    ER.TABLE_DEF_CHANGED,
    *(ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK, ER.QUERY_INTERRUPTED, ER.CON_COUNT_ERROR, ER.SERVER_SHUTDOWN),
    *(ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED, ER.OUT_OF_RESOURCES, 3024, 1969, 4031),
}
_OF_CLIENT = range(2000, 3000)
_LOCKED = {ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.BAD_DB_ERROR}
_COLUMNS = """
SELECT column_name, data_type, column_type, numeric_precision, numeric_scale
FROM information_schema.columns WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position
"""
_LONGEST_REASON = 300


class MySqlSession:
    """See Session."""

    def __init__(self, target: Target, seconds: float, _tables: Sequence[TableLocation] = ()) -> None:
        """Connect and begin the transaction, whose statements may take `seconds` each.

        A table that is emptied or replaced afterwards is an error here, and the copy is tried again.
        """
        self._target = target
        self._connection = _connected(target)
        try:
            self._run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            self._run("SET SESSION time_zone = '+00:00'")
            self._run(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}")
            self._limit(seconds)
            self._run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            ((moment,),) = self._rows("SELECT UTC_TIMESTAMP(6)")
        except BaseException:
            self.close()
            raise
        self._began_at: datetime = moment.replace(tzinfo=UTC)

    @property
    def began_at(self) -> datetime:
        """See Session."""
        return self._began_at

    def columns(self, table: TableLocation) -> Sequence[SourceColumn]:
        """See Session. The server shows those on which the user has a privilege."""
        found = self._rows(_COLUMNS, (table.database, table.table))
        if not found:
            user = self._target.credential.access_key
            raise refusal(f'There is no table {table.shown}, or the user "{user}" may not read it.')
        return [column_of(str(name), str(kind).lower(), _text(whole).lower(), *of) for name, kind, whole, *of in found]

    def batches(self, table: TableLocation, columns: Sequence[SourceColumn]) -> Generator[pa.RecordBatch, None, None]:
        """See Session."""
        selected = ", ".join(column.select for column in columns)
        with self._translated():
            cursor = self._connection.cursor(SSCursor)
            cursor.execute(f"SELECT {selected} FROM {quote(table.database)}.{quote(table.table)}")  # noqa: S608
        count = _FIRST_ROWS
        try:
            while True:
                with self._translated():
                    rows = cursor.fetchmany(count)
                if not rows:
                    break
                yield batch_of(rows, columns)
                count = _next_count(rows)
        except BaseException:
            # To close it reads the rest of the rows, since the transaction can go on only after them.
            self._interrupt()
            with suppress(pymysql.MySQLError, OSError, AttributeError):  # the last without a connection
                cursor.close()
            raise
        with self._translated():
            cursor.close()

    def _interrupt(self) -> None:
        """End the statement in progress. The transaction stays."""
        with suppress(pymysql.MySQLError, OSError, SourceUnavailable, InvalidSource):
            other = _connected(self._target)
            try:
                other.query(f"KILL QUERY {self._connection.thread_id():d}")  # type: ignore[no-untyped-call]
            finally:
                other.close()

    def cancel(self) -> None:
        """See Session."""
        with suppress(pymysql.MySQLError, OSError, SourceUnavailable, InvalidSource):
            other = _connected(self._target)
            try:
                other.kill(self._connection.thread_id())  # type: ignore[no-untyped-call]
            finally:
                other.close()

    def close(self) -> None:
        """See Session."""
        with suppress(pymysql.MySQLError, OSError):
            self._connection.close()

    def _limit(self, seconds: float) -> None:
        """Have the server end a statement that takes too long. MySQL and MariaDB have other words for it."""
        for setting in (f"max_execution_time = {int(seconds * 1000)}", f"max_statement_time = {seconds:.0f}"):
            with suppress(pymysql.MySQLError):
                self._connection.query(f"SET SESSION {setting}")

    def _run(self, sql: str) -> None:
        with self._translated():
            self._connection.query(sql)

    def _rows(self, sql: str, values: Sequence[str] = ()) -> list[Any]:
        with self._translated(), self._connection.cursor() as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall())

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (pymysql.MySQLError, OSError) as error:
            raise _translated(error, self._target) from None


def _next_count(rows: Sequence[Sequence[object]]) -> int:
    """How many rows like these are fetched at a time: the driver holds them all."""
    held = sum(len(value) for row in rows for value in row if isinstance(value, (str, bytes)))
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * len(rows) // (held + 1), _GROWTH * len(rows)))


class _NotInClear:
    """Refuses to send the password as it is, which a server may ask for."""

    def __init__(self, _connection: object) -> None:
        pass

    def authenticate(self, _packet: object) -> None:
        """Refuse."""
        raise pymysql.OperationalError(CR.CR_AUTH_PLUGIN_ERR, "the server asks for the password in clear text")


def _connected(target: Target) -> "pymysql.Connection[Any]":
    """A connection to one of the addresses. Raises InvalidSource or SourceUnavailable."""
    tls, credential = target.tls, target.credential
    last: Exception = OSError("it has no address")
    for address in target.addresses[:MOST_ADDRESSES]:
        try:
            opened = socket.create_connection((address, target.server.port), CONNECT_SECONDS)
        except OSError as error:
            last = error
            continue
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            connection = pymysql.Connection(
                host=target.server.host,  # the name that a certificate is held to
                port=target.server.port,
                user=credential.access_key,
                password=credential.access_secret.encode(),  # else as Latin-1
                database=target.database,
                charset="utf8mb4",
                defer_connect=True,
                read_timeout=_READ_SECONDS,
                write_timeout=_READ_SECONDS,
                program_name="matview",
                auth_plugin_map={"mysql_clear_password": _NotInClear, "dialog": _NotInClear},
                **_tls_options(tls),
            )
            connection.connect(opened)
        except (pymysql.MySQLError, OSError) as error:
            opened.close()
            raise _translated(error, target) from None
        else:
            return connection
    raise _translated(last, target) from None


def _tls_options(tls: Tls) -> dict[str, Any]:
    if tls.mode == DISABLE:
        return {"ssl_disabled": True}
    context = ssl.create_default_context(cafile=tls.authorities)
    context.check_hostname = tls.mode == VERIFY_FULL
    if not tls.mode.startswith("verify"):
        context.verify_mode = ssl.CERT_NONE
    return {"ssl": context}


def _translated(error: Exception, target: Target) -> Exception:
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    reason = str(error.args[1] if len(error.args) > 1 else error).partition("\n")[0].strip(" .")[:_LONGEST_REASON]
    if target.credential.access_secret:
        reason = reason.replace(target.credential.access_secret, "…")
    where = f"The database {target.database} at {target.server.host}:{target.server.port}"
    is_of_server = isinstance(error, pymysql.MySQLError) and number not in _OF_CLIENT
    is_final = (is_of_server and number not in _PASSING) or number in _LOCKED
    if is_final or isinstance(error.__cause__ or error, ssl.SSLCertVerificationError) or "CERTIFICATE" in reason:
        return refusal(f"{where} cannot be read: {reason}.")
    return SourceUnavailable(f"{where} cannot be read at the moment: {reason}.")


def _text(value: object) -> str:
    """A value of the catalog, which some servers give as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
