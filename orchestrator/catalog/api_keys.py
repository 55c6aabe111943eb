"""API keys, stored by the hash of their token."""

from collections.abc import Collection
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Row, Select, Update, bindparam, func, insert, select, update

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import label_columns
from orchestrator.model.base import Value
from orchestrator.model.principal import ApiKey, Principal, Scope, User

_SCOPES = frozenset(Scope)
# The resolution of `last_used_at`: an UPDATE for each request would cost more than the exact time is worth.
_USE_RESOLUTION = timedelta(minutes=1)


class KnownKey(Value):
    """A key that was found by its token: its owner and scopes, and whether it still works by PostgreSQL's clock.

    `use_is_due`: its use was not recorded within the last minute.
    """

    principal: Principal
    expires_at: datetime | None
    revoked_at: datetime | None
    is_expired: bool
    use_is_due: bool


async def insert_key(
    tx: Transaction,
    *,
    user_id: int,
    label: str,
    token_hash: bytes,
    scopes: Collection[Scope],
    project_ids: Collection[int] | None,
    hint: str | None,
    expires_at: datetime | None,
) -> UUID:
    """Store a key by its hash; the token itself is never stored."""
    key_id = uuid4()
    await tx.execute(
        insert(t.api_keys).values(
            id=key_id,
            user_id=user_id,
            label=label,
            token_hash=token_hash,
            scopes=sorted(scopes),
            project_ids=None if project_ids is None else sorted(project_ids),
            hint=hint,
            expires_at=expires_at,
        )
    )
    return key_id


async def find_key(tx: Transaction, token_hash: bytes) -> KnownKey | None:
    """The key with that hash, or None. The look-up is by hash, so its duration reveals nothing of any token."""
    row = (await tx.execute(_known_key(), {"token_hash": token_hash})).one_or_none()
    return None if row is None else known_key(row)


def known_key(row: Row[Any]) -> KnownKey:
    """The key in a row of `select_keys`."""
    principal = Principal(
        key_id=row.id,
        user=User.model_validate({name: row._mapping[f"user_{name}"] for name in User.model_fields}),
        # A scope that this release does not know gives nothing, rather than making the key unusable.
        scopes=frozenset(Scope(scope) for scope in row.scopes if scope in _SCOPES),
        project_ids=None if row.project_ids is None else frozenset(row.project_ids),
    )
    return KnownKey(
        principal=principal,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        is_expired=bool(row.is_expired),
        use_is_due=bool(row.use_is_due),
    )


async def record_use(tx: Transaction, key_id: UUID) -> None:
    """Set `last_used_at` to now, unless it was set within the last minute or another request is setting it."""
    await tx.execute(_record_use_stmt(), {"key": key_id})


async def list_keys(tx: Transaction) -> list[ApiKey]:
    """Every key, the oldest first, expired and revoked ones included."""
    columns = [t.users.c.email if name == "email" else t.api_keys.c[name] for name in ApiKey.model_fields]
    joined = select(*columns).join(t.users, t.users.c.id == t.api_keys.c.user_id)
    rows = await tx.execute(joined.order_by(t.api_keys.c.created_at, t.api_keys.c.id))
    return [ApiKey.model_validate(row._mapping) for row in rows]


async def id_of_token(tx: Transaction, token_hash: bytes) -> UUID | None:
    """The id of the key with that hash."""
    return await tx.scalar(select(t.api_keys.c.id).where(t.api_keys.c.token_hash == token_hash))


async def revoke(tx: Transaction, ids: Collection[UUID]) -> None:
    """Revoke these keys. One that was revoked before keeps its `revoked_at`."""
    keys = t.api_keys
    change = update(keys).where(keys.c.id.in_(ids), keys.c.revoked_at.is_(None))
    await tx.execute(change.values(revoked_at=func.clock_timestamp()))


# Each of these is built once: building the statement takes longer than running it.


def _use_is_due() -> ColumnElement[bool]:
    used = t.api_keys.c.last_used_at
    return func.coalesce(used < func.now() - _USE_RESOLUTION, True)


def select_keys() -> Select[Any]:
    """Keys with their owners, as `known_key` reads them."""
    keys = t.api_keys.c
    query = select(
        *(keys.id, keys.scopes, keys.project_ids, keys.expires_at, keys.revoked_at),
        (keys.expires_at <= func.now()).label("is_expired"),
        _use_is_due().label("use_is_due"),
        *label_columns("user", t.users, User.model_fields),
    )
    return query.join(t.users, t.users.c.id == keys.user_id)


@cache
def _known_key() -> Select[Any]:
    return select_keys().where(t.api_keys.c.token_hash == bindparam("token_hash"))


@cache
def _record_use_stmt() -> Update:
    keys = t.api_keys
    # Another request that has locked the row records the same use, so this one does not wait for it.
    due = select(keys.c.id).where(keys.c.id == bindparam("key"), _use_is_due()).with_for_update(skip_locked=True)
    return update(keys).where(keys.c.id.in_(due.scalar_subquery())).values(last_used_at=func.now())
