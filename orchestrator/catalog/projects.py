"""Projects and users."""

from functools import cache
from typing import Any
from uuid import uuid4

from sqlalchemy import Select, bindparam, insert, select, update

from orchestrator.catalog import tables as t
from orchestrator.catalog.database import Transaction
from orchestrator.catalog.rows import USER_COLUMNS
from orchestrator.model.principal import Project, ProjectLimits, User


async def insert_project(tx: Transaction, name: str) -> Project:
    """Store a new project."""
    row = await tx.execute(insert(t.projects).values(name=name).returning(t.projects.c.id))
    return Project(id=row.scalar_one(), name=name)


async def find_project(tx: Transaction, project_id: int) -> Project | None:
    """The project of that id."""
    row = (await tx.execute(select(t.projects).where(t.projects.c.id == project_id))).one_or_none()
    return None if row is None else Project(id=row.id, name=row.name, limits=row.limits or ProjectLimits())


async def list_projects(tx: Transaction) -> list[Project]:
    """Every project, the oldest first."""
    rows = await tx.execute(select(t.projects).order_by(t.projects.c.id))
    return [Project(id=row.id, name=row.name, limits=row.limits or ProjectLimits()) for row in rows]


async def get_limits(tx: Transaction, project_id: int) -> ProjectLimits:
    """The limits of the project's queries."""
    limits = await tx.scalar(_limits(), {"project": project_id})
    return ProjectLimits.model_validate(limits or {})


async def set_limits(tx: Transaction, project_id: int, limits: ProjectLimits) -> bool:
    """Set the limits of the project's queries. False if there is no such project."""
    change = update(t.projects).where(t.projects.c.id == project_id)
    changed = await tx.execute(change.values(limits=limits.model_dump(exclude_none=True)).returning(t.projects.c.id))
    return changed.one_or_none() is not None


async def lock_project(tx: Transaction, project_id: int) -> None:
    """Lock the project: no other transaction changes the meaning of its views and tables until this one ends.

    One lock covers a project's whole graph, so names, inputs and cycles are checked against what will be committed.
    Otherwise two edits that are each valid alone could be invalid together. Runs and readers do not wait for it.
    """
    row = select(t.projects.c.id).where(t.projects.c.id == project_id)
    await tx.execute(row.with_for_update(key_share=True))


async def find_or_insert_user(tx: Transaction, email: str, first_name: str, last_name: str) -> User:
    """The user with that email address, stored if new."""
    row = (await tx.execute(select(*USER_COLUMNS).where(t.users.c.email == email))).one_or_none()
    if row is None:
        uuid = uuid4()
        new = insert(t.users).values(
            uuid=uuid, distinct_id=str(uuid), email=email, first_name=first_name, last_name=last_name
        )
        row = (await tx.execute(new.returning(*USER_COLUMNS))).one()
    return User.model_validate(row._mapping)


# Built once: building the statement takes longer than running it.


@cache
def _limits() -> Select[Any]:
    return select(t.projects.c.limits).where(t.projects.c.id == bindparam("project"))
