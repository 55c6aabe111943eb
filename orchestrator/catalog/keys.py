"""Projects, people and their keys."""

from collections.abc import Collection
from functools import cache
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Select, bindparam, insert, select, update

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import USER, prefixed
from orchestrator.model.principal import Principal, Project, ProjectLimits, Scope, User

_SCOPES = frozenset(Scope)


async def insert_project(tx: Transaction, name: str) -> Project:
    """Store a new project."""
    row = await tx.execute(insert(t.projects).values(name=name).returning(t.projects.c.id))
    return Project(id=row.scalar_one(), name=name)


async def find_project(tx: Transaction, project_id: int) -> Project | None:
    """The project of that id."""
    row = (await tx.execute(select(t.projects).where(t.projects.c.id == project_id))).one_or_none()
    return None if row is None else Project(id=row.id, name=row.name, limits=row.limits or ProjectLimits())


async def limits_of(tx: Transaction, project_id: int) -> ProjectLimits:
    """What the project's queries may use."""
    limits = await tx.scalar(_limits(), {"project": project_id})
    return ProjectLimits.model_validate(limits or {})


async def set_limits(tx: Transaction, project_id: int, limits: ProjectLimits) -> bool:
    """Set what the project's queries may use. False if there is no such project."""
    change = update(t.projects).where(t.projects.c.id == project_id)
    changed = await tx.execute(change.values(limits=limits.model_dump(exclude_none=True)).returning(t.projects.c.id))
    return changed.one_or_none() is not None


async def lock_definitions(tx: Transaction, project_id: int) -> None:
    """Let no other transaction change what the project's views and tables mean until this one ends.

    One lock for a project's whole graph: names, inputs and cycles are then checked against what will be committed,
    and nobody has to reason about pairs of edits that are each valid alone. It does not hold up runs or readers.
    """
    row = select(t.projects.c.id).where(t.projects.c.id == project_id)
    await tx.execute(row.with_for_update(key_share=True))


async def find_or_insert_user(tx: Transaction, email: str, first_name: str, last_name: str) -> User:
    """The person of that address, stored if new."""
    row = (await tx.execute(select(*USER).where(t.users.c.email == email))).one_or_none()
    if row is None:
        uuid = uuid4()
        new = insert(t.users).values(
            uuid=uuid, distinct_id=str(uuid), email=email, first_name=first_name, last_name=last_name
        )
        row = (await tx.execute(new.returning(*USER))).one()
    return User.model_validate(row._mapping)


async def insert_key(
    tx: Transaction,
    *,
    user_id: int,
    label: str,
    token_hash: bytes,
    scopes: Collection[Scope],
    project_ids: Collection[int] | None,
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
        )
    )
    return key_id


async def find_principal(tx: Transaction, token_hash: bytes) -> Principal | None:
    """The owner of the key with that hash. The look-up is by hash, so its time says nothing of any token."""
    row = (await tx.execute(_principal(), {"token_hash": token_hash})).one_or_none()
    if row is None:
        return None
    return Principal(
        key_id=row.id,
        user=User.model_validate({name: row._mapping[f"user_{name}"] for name in User.model_fields}),
        # A scope that this release does not know gives nothing, rather than making the key unusable.
        scopes=frozenset(Scope(scope) for scope in row.scopes if scope in _SCOPES),
        project_ids=None if row.project_ids is None else frozenset(row.project_ids),
    )


# Each of these is made once: putting it together takes longer than running it.


@cache
def _limits() -> Select[Any]:
    return select(t.projects.c.limits).where(t.projects.c.id == bindparam("project"))


@cache
def _principal() -> Select[Any]:
    columns = prefixed("user", t.users, User.model_fields)
    query = select(t.api_keys.c.id, t.api_keys.c.scopes, t.api_keys.c.project_ids, *columns)
    joined = query.join(t.users, t.users.c.id == t.api_keys.c.user_id)
    return joined.where(t.api_keys.c.token_hash == bindparam("token_hash"))
