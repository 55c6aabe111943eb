"""A session on PostgreSQL: one read-only transaction in which all tables are seen as they were at one moment."""

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
from adbc_driver_manager import Error as AdbcError
from adbc_driver_postgresql import StatementOptions

from orchestrator.model.errors import InvalidSource, SourceUnavailable
from orchestrator.remote_sources.addresses import refusal
from orchestrator.remote_sources.databases.locations import DISABLE, VERIFY_FULL, TableLocation
from orchestrator.remote_sources.databases.postgres_types import column_of, converted, literal, quote
from orchestrator.remote_sources.databases.sessions import (
    CONNECT_SECONDS,
    LOCK_SECONDS,
    MOST_ADDRESSES,
    SourceColumn,
    Target,
)

_BATCH_BYTES = str(8 << 20)
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Only for this transaction: a pooler may give the connection to another client afterwards.
_SETTINGS = {
    "statement_timeout": "{milliseconds}",
    "lock_timeout": str(LOCK_SECONDS * 1000),
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
}
# Tables, views, materialized views, partitioned and foreign tables.
_COLUMNS = """
SELECT a.attname::pg_catalog.text,
       CASE WHEN b.typnamespace = 'pg_catalog'::pg_catalog.regnamespace THEN b.typname::pg_catalog.text ELSE '' END,
       b.typcategory::pg_catalog.text,
       CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END,
       pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
WHERE n.nspname = {schema} AND c.relname = {table} AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
ORDER BY a.attnum
"""
# Whether a table is the one that the transaction sees, with the file that it had then: the functions look at now.
_IS_SAME = """
SELECT count(*) = 1
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = {schema} AND c.relname = {table} AND c.oid = pg_catalog.to_regclass({whole})::pg_catalog.oid
  AND (c.relkind NOT IN ('r', 'm') OR c.relfilenode = pg_catalog.pg_relation_filenode(c.oid))
"""
_PERMISSION = "42501"
# A connection that was refused or lost, a server without resources, a deadlock, an intervention of its operator.
_PASSING = ("08", "40", "53", "57", "58", "55P03")
_TIMED_OUT = "57014"
_PERMANENT_AT_CONNECT = re.compile(
    r"password authentication|no password supplied|does not exist|no pg_hba\.conf entry|not permitted|"
    r"certificate|SSL|authentication method|server name|does not match host",
    re.IGNORECASE,
)
_LONGEST_REASON = 300


class PostgresSession:
    """See Session."""

    def __init__(self, target: Target, seconds: float, tables: Sequence[TableLocation] = ()) -> None:
        """Connect and begin the transaction, whose statements may take `seconds` each. `tables` are read completely.

        They are locked before the moment of the transaction is fixed, as `pg_dump` does it. A table that another
        session empties and fills again would be read as empty otherwise, once that session has committed: to a
        transaction that began before, such a table has no rows.
        """
        self._target = target
        with self._translated(connecting=True):
            self._connection = adbc.connect(_conninfo(target), autocommit=True)
        self._cursor = self._connection.cursor()
        self._unlocked: set[TableLocation] = set()
        try:
            self._run(_BEGIN)
            for name, value in _SETTINGS.items():
                self._run(f"SET LOCAL {name} = {literal(value.format(milliseconds=int(seconds * 1000)))}")
            for table in tables:
                self._lock(table)
            ((began_at, encoding),) = self._rows(
                "SELECT pg_catalog.statement_timestamp(), pg_catalog.current_setting('server_encoding')"
            )
        except BaseException:
            self.close()
            raise
        self._began_at: datetime = began_at
        self._is_ascii = encoding == "SQL_ASCII"

    @property
    def began_at(self) -> datetime:
        """See Session."""
        return self._began_at

    def columns(self, table: TableLocation) -> Sequence[SourceColumn]:
        """See Session."""
        if self._is_ascii:
            raise refusal("The database has the encoding SQL_ASCII, so that it is not known how its texts are encoded.")
        found = self._rows(_COLUMNS.format(schema=literal(table.schema), table=literal(table.table)))
        if not found:
            raise refusal(f"There is no table {table.shown} in the database {table.database}.")
        readable = [column_of(*facts) for *facts, may_read in found if may_read]
        if not readable:
            user = self._target.credential.access_key
            raise refusal(f'The user "{user}" may not read the table {table.shown}: it needs the privilege SELECT.')
        return readable

    def batches(self, table: TableLocation, columns: Sequence[SourceColumn]) -> Generator[pa.RecordBatch, None, None]:
        """See Session."""
        chosen = list(columns)
        selected = ", ".join(column.select for column in chosen)
        self._run("SAVEPOINT before_table")
        try:
            with self._translated():
                self._cursor.adbc_statement.set_options(**{StatementOptions.BATCH_SIZE_HINT_BYTES.value: _BATCH_BYTES})
                self._cursor.execute(f"SELECT {selected} FROM {_name(table)}")  # noqa: S608
                reader = self._cursor.fetch_record_batch()
            while True:
                with self._translated():
                    batch = next(reader, None)
                if batch is None:
                    break
                yield converted(batch, chosen)
            if table in self._unlocked:
                self._raise_unless_same(table)
        except BaseException:
            self._give_up_rows()
            raise
        self._run("RELEASE SAVEPOINT before_table")

    def cancel(self) -> None:
        """See Session."""
        with suppress(AdbcError, OSError):
            self._cursor.adbc_cancel()

    def close(self) -> None:
        """See Session."""
        with suppress(AdbcError, OSError, RuntimeError):
            self._cursor.close()
        with suppress(AdbcError, OSError, RuntimeError):
            self._connection.close()

    def _lock(self, table: TableLocation) -> None:
        """Keep others from emptying or replacing a table. Not all can be locked by a user who may read some columns."""
        self._run("SAVEPOINT before_lock")
        try:
            self._run(f"LOCK TABLE {_name(table)} IN ACCESS SHARE MODE")
        except InvalidSource:
            self._unlocked.add(table)
            self._run("ROLLBACK TO SAVEPOINT before_lock")
        self._run("RELEASE SAVEPOINT before_lock")

    def _raise_unless_same(self, table: TableLocation) -> None:
        names = {"schema": table.schema, "table": table.table, "whole": _name(table)}
        ((is_same,),) = self._rows(_IS_SAME.format(**{key: literal(value) for key, value in names.items()}))
        if not is_same:
            raise SourceUnavailable(f"The table {table.shown} was emptied or replaced before it was read.")

    def _give_up_rows(self) -> None:
        """End the statement in progress, so that the transaction can go on with another table."""
        with suppress(AdbcError, OSError, InvalidSource, SourceUnavailable):
            self._cursor.adbc_cancel()
            self._cursor.close()
            self._cursor = self._connection.cursor()
            self._run("ROLLBACK TO SAVEPOINT before_table")

    def _run(self, sql: str) -> None:
        with self._translated():
            self._cursor.execute(sql)

    def _rows(self, sql: str) -> list[Any]:
        with self._translated():
            self._cursor.execute(sql)
            return list(self._cursor.fetchall())

    @contextmanager
    def _translated(self, *, connecting: bool = False) -> Iterator[None]:
        try:
            yield
        except (AdbcError, OSError) as error:
            raise _translated(error, self._target, connecting=connecting) from None


def _name(table: TableLocation) -> str:
    return f"{quote(table.schema)}.{quote(table.table)}"


def _conninfo(target: Target) -> str:
    """The words of a connection. All are said here that matter: libpq takes the rest from its environment."""
    tls, addresses = target.tls, target.addresses[:MOST_ADDRESSES]
    words = {
        "host": ",".join(target.server.host for _ in addresses),
        "hostaddr": ",".join(addresses),
        "port": ",".join(str(target.server.port) for _ in addresses),
        "dbname": target.database,
        "user": target.credential.access_key,
        "password": target.credential.access_secret,
        "passfile": "/dev/null",
        "connect_timeout": str(CONNECT_SECONDS),
        "application_name": "matview",
        "client_encoding": "UTF8",
        "sslmode": tls.mode,
        "gssencmode": "disable",
        "target_session_attrs": "any",
        "load_balance_hosts": "disable",
        "keepalives": "1",
        "keepalives_idle": "15",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "30000",
    }
    if tls.mode.startswith("verify"):
        words["sslrootcert"] = tls.authorities or "system"
    if tls.mode != VERIFY_FULL:  # to a server that is not known for sure, the password is not sent as it is
        words["require_auth"] = "scram-sha-256,md5,none"
    if tls.mode == DISABLE:
        words["channel_binding"] = "disable"
    return " ".join(f"{name}='{_escaped(value)}'" for name, value in words.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _translated(error: Exception, target: Target, *, connecting: bool) -> Exception:
    reason, state = _reason(str(error), target), getattr(error, "sqlstate", None) or ""
    where = f"The database {target.database} at {target.server.host}:{target.server.port}"
    if connecting:
        if _PERMANENT_AT_CONNECT.search(reason):
            return refusal(f"{where} cannot be read: {reason}.")
        return SourceUnavailable(f"{where} cannot be reached: {reason}.")
    if state == _PERMISSION:
        return refusal(f"{where} refuses it: {reason}.")
    # An error in the middle of the rows has no state.
    is_of_statement = bool(state) or "ERROR:" in str(error)
    if state == _TIMED_OUT or state.startswith(_PASSING) or not is_of_statement or "canceling statement" in reason:
        return SourceUnavailable(f"{where} cannot be read at the moment: {reason}.")
    return refusal(f"{where} cannot be read: {reason}.")


def _reason(text: str, target: Target) -> str:
    """The message of the server, without its hints and the statement, which begin another line."""
    found = re.split(r"\b(?:ERROR|FATAL|failed):\s+", text)[-1]
    reason = found.partition("\n")[0].partition(". SQLSTATE")[0].strip(" .")[:_LONGEST_REASON]
    secret = target.credential.access_secret
    return reason.replace(secret, "…") if secret else reason
