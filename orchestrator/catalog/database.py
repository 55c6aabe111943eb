"""The connection to PostgreSQL."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from sqlalchemy import Engine, event, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from orchestrator.model.errors import CatalogUnavailable, UnstorableText

Transaction = AsyncConnection

# A transaction is a few statements. If one takes longer than this, the server has stopped answering.
_LONGEST_SECONDS = 20.0
# A connection that was idle in the pool for more seconds than this may be dead. A ping at every checkout would double
# the time of a single statement.
_PING_IDLE_AFTER = 1.0
# The server's own timeouts are somewhat shorter. Times are read in UTC, also if the database has another time zone.
_SESSION = "-c timezone=UTC -c statement_timeout=15s -c lock_timeout=10s"

# SQLSTATE classes and codes after which the same statement may succeed: connection exceptions (08), insufficient
# resources (53), a server that stops, starts or cancels (57), serialization failures, deadlocks, lock timeouts.
_TRANSIENT_SQLSTATES = ("08", "53", "57", "40001", "40P01", "55P03")

# SQLSTATEs for a character that the server cannot store: untranslatable, or not of the encoding.
_NO_TEXT = ("22P05", "22021")


class Database:
    """A pool of connections, opened when first used."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        """`url` is a libpq URL (`postgresql://…`)."""
        self._engine = create_async_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=10,
            connect_args={"connect_timeout": 5, "options": _SESSION},
        )
        # It shares the pool.
        self._autocommit_engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        _ping_idle_connections(self._engine.sync_engine)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        """A transaction: committed at the end, rolled back on an exception.

        Raises CatalogUnavailable if PostgreSQL is out of reach, also in the middle of the transaction.
        """
        async with _translate_errors(), self._engine.begin() as tx:
            yield tx

    @asynccontextmanager
    async def single(self) -> AsyncIterator[Transaction]:
        """A transaction of one statement, in autocommit mode: it saves the round trips of BEGIN and COMMIT.

        A second statement would be a transaction of its own. Raises CatalogUnavailable.
        """
        async with _translate_errors(), self._autocommit_engine.connect() as tx:
            yield tx

    async def ping(self) -> None:
        """Raise CatalogUnavailable unless PostgreSQL answers."""
        async with self.begin() as tx:
            await tx.execute(text("SELECT 1"))

    async def migration(self) -> str | None:
        """The Alembic revision of the schema, or None for an empty database."""
        async with self.begin() as tx:
            exists = await tx.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
            return await tx.scalar(text("SELECT version_num FROM alembic_version")) if exists else None

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


async def as_of_one_moment(tx: Transaction) -> None:
    """Have all statements of a transaction see the database as the first one does. Called before the first."""
    await tx.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))


@asynccontextmanager
async def _translate_errors() -> AsyncIterator[None]:
    """Raise CatalogUnavailable for errors that a retry may avoid, UnstorableText for text that cannot be stored."""
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            yield
    except TimeoutError as error:
        raise CatalogUnavailable from error
    except exc.DBAPIError as error:
        if _is_transient(error):
            raise CatalogUnavailable from error
        if _is_text_that_cannot_be_kept(error):
            raise UnstorableText from error
        raise
    except UnicodeEncodeError as error:
        raise UnstorableText from error
    except exc.TimeoutError as error:
        raise CatalogUnavailable("Every connection to PostgreSQL is busy. Try again in a moment.") from error


def sqlalchemy_url(url: str) -> str:
    """The same libpq URL, with the driver named in it, as SQLAlchemy requires."""
    return "postgresql+psycopg://" + url.partition("://")[2]


def _ping_idle_connections(engine: Engine) -> None:
    """Ping connections that were idle in the pool, and replace dead ones, so that the next request does not fail.

    A connection that died within the last second does fail one request, with CatalogUnavailable. All other connections
    are then replaced too. The same happens if a ping fails for any reason.
    """

    @event.listens_for(engine, "checkin")
    def _on_checkin(_: object, record: Any) -> None:  # noqa: ANN401 - SQLAlchemy's own
        record.info["since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _on_checkout(connection: Any, record: Any, _: object) -> None:  # noqa: ANN401 - the driver's, and SQLAlchemy's own
        if time.monotonic() - record.info.get("since", time.monotonic()) < _PING_IDLE_AFTER:
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise exc.InvalidatePoolError from error


def _is_text_that_cannot_be_kept(error: exc.DBAPIError) -> bool:
    """Whether a value holds a NUL character or half of a surrogate pair, which the driver or the server refuses."""
    message = str(error.orig).lower()
    is_text = "nul (0x00)" in message or "surrogate" in message or getattr(error.orig, "sqlstate", None) in _NO_TEXT
    return is_text and isinstance(error.orig, psycopg.DataError)


def _is_transient(error: exc.DBAPIError) -> bool:
    """Whether the same statement may succeed in a moment. A failure to connect has no SQLSTATE at all."""
    state = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated:
        return True
    return isinstance(error, exc.OperationalError) and (state is None or state.startswith(_TRANSIENT_SQLSTATES))
