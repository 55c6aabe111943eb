"""Access: from a token to the person it stands for, and the making of projects and keys."""

import hashlib
import secrets
from collections.abc import Collection

from orchestrator.catalog import keys
from orchestrator.catalog.database import Database
from orchestrator.model.base import Value
from orchestrator.model.errors import NotAuthenticated, NotFound
from orchestrator.model.principal import Principal, Project, ProjectLimits, Scope

_TOKEN_PREFIX = "mv_"  # noqa: S105 - what a token begins with, not a token


class NewKey(Value):
    """A key as its owner sees it, once."""

    token: str
    scopes: tuple[Scope, ...]
    project_ids: tuple[int, ...] | None


class Access:
    """Who may do what."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Nothing removes a project, so one that was found once is there.
        self._found: set[int] = set()

    async def authenticate(self, token: str | None) -> Principal:
        """The owner of a token. Raises NotAuthenticated, in the same words for every token that is not one."""
        if not token:
            raise NotAuthenticated
        async with self._database.single() as tx:
            principal = await keys.find_principal(tx, _hash(token))
        if principal is None:
            raise NotAuthenticated("Invalid personal API key.")
        return principal

    async def get_project(self, project_id: int) -> Project:
        """The project of that id. Raises NotFound."""
        async with self._database.begin() as tx:
            project = await keys.find_project(tx, project_id)
        if project is None:
            raise NotFound
        return project

    async def require_project(self, project_id: int) -> None:
        """Raise NotFound unless there is a project of that id."""
        if project_id not in self._found:
            await self.get_project(project_id)
            self._found.add(project_id)

    async def create_project(self, name: str) -> Project:
        """A new project."""
        async with self._database.begin() as tx:
            return await keys.insert_project(tx, name)

    async def limit_project(self, project_id: int, limits: ProjectLimits) -> None:
        """Set what the queries of a project may use, from its next run on. Raises NotFound."""
        async with self._database.begin() as tx:
            if not await keys.set_limits(tx, project_id, limits):
                raise NotFound(f"There is no project {project_id}.")

    async def create_key(
        self,
        *,
        email: str,
        label: str,
        scopes: Collection[Scope],
        project_ids: Collection[int] | None,
        first_name: str = "",
        last_name: str = "",
        token: str | None = None,
    ) -> NewKey:
        """A new key for the person of that address. `token` is made at random unless given.

        Raises NotFound if one of the projects does not exist.
        """
        token = token or _TOKEN_PREFIX + secrets.token_urlsafe(32)
        async with self._database.begin() as tx:
            for project_id in project_ids or ():
                if await keys.find_project(tx, project_id) is None:
                    raise NotFound(f"There is no project {project_id}.")
            user = await keys.find_or_insert_user(tx, email, first_name, last_name)
            await keys.insert_key(
                tx,
                user_id=user.id,
                label=label,
                token_hash=_hash(token),
                scopes=scopes,
                project_ids=project_ids,
            )
        return NewKey(
            token=token,
            scopes=tuple(sorted(scopes)),
            project_ids=None if project_ids is None else tuple(sorted(project_ids)),
        )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
