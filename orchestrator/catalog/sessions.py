"""Sign-ins to the console, and links to sign in with, stored by the hash of their token."""

from collections.abc import Collection
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Select, bindparam, delete, func, insert, select

from orchestrator.catalog import tables as t
from orchestrator.catalog.api_keys import KnownKey, known_key, select_keys
from orchestrator.catalog.database import Transaction

_SESSIONS = t.console_sessions


async def insert_session(
    tx: Transaction, *, token_hash: bytes, key_id: UUID, is_link: bool, lasts: timedelta, most: int
) -> None:
    """Store a session, or a link. Of all that the key has then, the newest `most` stay that have not expired."""
    expires_at = func.clock_timestamp() + lasts
    row = {"token_hash": token_hash, "key_id": key_id, "is_link": is_link, "expires_at": expires_at}
    await tx.execute(insert(_SESSIONS).values(row))
    newest = select(_SESSIONS.c.token_hash).where(_SESSIONS.c.key_id == key_id)
    kept = newest.order_by(_SESSIONS.c.created_at.desc(), _SESSIONS.c.token_hash).limit(most)
    await tx.execute(
        delete(_SESSIONS).where(
            (_SESSIONS.c.expires_at <= func.now())
            | ((_SESSIONS.c.key_id == key_id) & _SESSIONS.c.token_hash.not_in(kept))
        )
    )


async def find_session(tx: Transaction, token_hash: bytes) -> KnownKey | None:
    """The key of a session that has not expired. The key itself may have been revoked."""
    row = (await tx.execute(_session_stmt(), {"token_hash": token_hash})).one_or_none()
    return None if row is None else known_key(row)


async def use_link(tx: Transaction, token_hash: bytes) -> KnownKey | None:
    """The key of a link that has not expired, which is gone then: of several requests with it, one gets the key."""
    gone = delete(_SESSIONS).where(_SESSIONS.c.token_hash == token_hash, _SESSIONS.c.is_link)
    used = await tx.execute(gone.where(_SESSIONS.c.expires_at > func.now()).returning(_SESSIONS.c.key_id))
    key_id = used.scalar_one_or_none()
    if key_id is None:
        return None
    row = (await tx.execute(select_keys().where(t.api_keys.c.id == key_id))).one_or_none()
    return None if row is None else known_key(row)


async def delete_session(tx: Transaction, token_hash: bytes) -> None:
    """End a session."""
    await tx.execute(delete(_SESSIONS).where(_SESSIONS.c.token_hash == token_hash))


async def working(tx: Transaction, hashes: Collection[bytes]) -> set[bytes]:
    """Those of the sessions that still let their browser in."""
    keys = t.api_keys.c
    query = (
        select(_SESSIONS.c.token_hash)
        .join(t.api_keys, keys.id == _SESSIONS.c.key_id)
        .where(
            _SESSIONS.c.token_hash.in_(hashes),
            _SESSIONS.c.expires_at > func.now(),
            keys.revoked_at.is_(None),
            keys.expires_at.is_(None) | (keys.expires_at > func.now()),
        )
    )
    return set(await tx.scalars(query))


@cache
def _session_stmt() -> Select[Any]:
    joined = select_keys().join(_SESSIONS, _SESSIONS.c.key_id == t.api_keys.c.id)
    return joined.where(
        _SESSIONS.c.token_hash == bindparam("token_hash"), ~_SESSIONS.c.is_link, _SESSIONS.c.expires_at > func.now()
    )
