"""The connection to PostgreSQL."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from sqlalchemy import Engine, event, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from orchestrator.model.errors import CatalogUnavailable, UnsupportedType

Transaction = AsyncConnection

# A transaction is a few statements. One that takes as long as this waits for a server that has stopped answering.
_LONGEST_SECONDS = 20.0
# A connection that has lain in the pool for longer may have died there. To ask it each time would double what a single
# statement takes.
_PING_IDLE_AFTER = 1.0
# The server gives up somewhat earlier, if it can. Times are read in UTC, whatever the database's own zone is.
_SESSION = "-c timezone=UTC -c statement_timeout=15s -c lock_timeout=10s"

# SQLSTATE classes that say "not now" rather than "not so": connection trouble, resources, a server going down or
# coming up, a transaction that lost to another one, and a lock that took too long.
_TRANSIENT_SQLSTATES = ("08", "53", "57", "40001", "40P01", "55P03")

# What the server says of a character that its text cannot hold: untranslatable, or not of the encoding.
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
        # Of the same pool.
        self._autocommit_engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        _ping_idle_connections(self._engine.sync_engine)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        """A transaction: committed at the end, rolled back on an exception.

        Raises CatalogUnavailable if PostgreSQL is out of reach, also in the middle.
        """
        async with _translate_errors(), self._engine.begin() as tx:
            yield tx

    @asynccontextmanager
    async def single(self) -> AsyncIterator[Transaction]:
        """A transaction of one statement, which spares the two trips to the server that begin and end a longer one.

        What more is sent would be a transaction of its own. Raises CatalogUnavailable.
        """
        async with _translate_errors(), self._autocommit_engine.connect() as tx:
            yield tx

    async def ping(self) -> None:
        """Raise CatalogUnavailable unless PostgreSQL answers."""
        async with self.begin() as tx:
            await tx.execute(text("SELECT 1"))

    async def migration(self) -> str | None:
        """The revision that the schema is at, or None for an empty database."""
        async with self.begin() as tx:
            exists = await tx.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
            return await tx.scalar(text("SELECT version_num FROM alembic_version")) if exists else None

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


@asynccontextmanager
async def _translate_errors() -> AsyncIterator[None]:
    """Raise CatalogUnavailable for whatever may work in a moment."""
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            yield
    except TimeoutError as error:
        raise CatalogUnavailable from error
    except exc.DBAPIError as error:
        if _is_transient(error):
            raise CatalogUnavailable from error
        if _is_text_that_cannot_be_kept(error):
            raise UnsupportedType from error
        raise
    except UnicodeEncodeError as error:
        raise UnsupportedType from error
    except exc.TimeoutError as error:
        raise CatalogUnavailable("Every connection to PostgreSQL is busy. Try again in a moment.") from error


def sqlalchemy_url(url: str) -> str:
    """The same libpq URL, naming the driver as SQLAlchemy wants it."""
    return "postgresql+psycopg://" + url.partition("://")[2]


def _ping_idle_connections(engine: Engine) -> None:
    """Have a connection that died while it lay in the pool replaced, instead of failing the next request.

    One that died within the last moment does fail it, with CatalogUnavailable, and only once: all others are then
    replaced as well, as they are if the ping fails in whatever way.
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
    told = str(error.orig).lower()
    is_text = "nul (0x00)" in told or "surrogate" in told or getattr(error.orig, "sqlstate", None) in _NO_TEXT
    return is_text and isinstance(error.orig, psycopg.DataError)


def _is_transient(error: exc.DBAPIError) -> bool:
    """Whether the same statement may succeed in a moment. A failure to connect has no SQLSTATE at all."""
    state = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated:
        return True
    return isinstance(error, exc.OperationalError) and (state is None or state.startswith(_TRANSIENT_SQLSTATES))
