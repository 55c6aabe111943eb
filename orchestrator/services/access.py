"""Authentication by token, and the management of projects and API keys."""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from orchestrator.catalog import api_keys, projects
from orchestrator.catalog.api_keys import KnownKey
from orchestrator.catalog.database import Database
from orchestrator.model.base import Value
from orchestrator.model.errors import Invalid, NotAuthenticated, NotFound
from orchestrator.model.principal import ApiKey, Principal, Project, ProjectLimits, Scope

logger = logging.getLogger(__name__)

_TOKEN_PREFIX = "mv_"  # noqa: S105 - what a token begins with, not a token
# The beginning of a token that is shown so that people can distinguish keys: thirty of its 256 random bits.
_HINT_LENGTH = 8
# A shorter token was chosen by hand: its beginning could reveal it.
_SHORTEST_HINTED = 40
# Fewer characters would too easily match the id of another key.
_SHORTEST_ID = 4


class IssuedKey(Value):
    """A new key with its token, which is shown only once."""

    id: UUID
    token: str
    scopes: tuple[Scope, ...]
    project_ids: tuple[int, ...] | None
    expires_at: datetime | None


class AccessService:
    """Authenticates clients, and manages projects and API keys."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Projects are never removed, so those found once are cached. Keys can be revoked, so none is cached.
        self._found: set[int] = set()
        self._noting: dict[UUID, asyncio.Task[None]] = {}

    async def authenticate(self, token: str | None) -> Principal:
        """The owner of a token. PostgreSQL is read each time, so every process refuses a revoked key at once.

        Raises NotAuthenticated. The message is the same for every unknown token; for a known one it says whether the
        key was revoked or has expired.
        """
        if not token:
            raise NotAuthenticated
        async with self._database.single() as tx:
            known = await api_keys.find_key(tx, _hash(token))
        if known is None:
            raise NotAuthenticated("Invalid personal API key.")
        return self.admit(known)

    def admit(self, known: KnownKey) -> Principal:
        """The owner of a key that was found, whose use is recorded. Raises NotAuthenticated if it works no more."""
        _refuse_unless_it_works(known)
        if known.use_is_due:
            self._note_use(known.principal.key_id)
        return known.principal

    async def close(self) -> None:
        """Wait until pending uses of keys are recorded. Call this before the database is closed."""
        await asyncio.gather(*self._noting.values(), return_exceptions=True)

    async def get_project(self, project_id: int) -> Project:
        """The project of that id. Raises NotFound."""
        async with self._database.begin() as tx:
            project = await projects.find_project(tx, project_id)
        if project is None:
            raise NotFound
        return project

    async def require_project(self, project_id: int) -> None:
        """Raise NotFound unless there is a project of that id."""
        if project_id not in self._found:
            await self.get_project(project_id)
            self._found.add(project_id)

    async def create_project(self, name: str) -> Project:
        """Create a project."""
        async with self._database.begin() as tx:
            return await projects.insert_project(tx, name)

    async def list_projects(self) -> list[Project]:
        """Every project, the oldest first."""
        async with self._database.begin() as tx:
            return await projects.list_projects(tx)

    async def set_project_limits(self, project_id: int, limits: ProjectLimits) -> None:
        """Set what the queries of a project may use, from its next run on. Raises NotFound."""
        async with self._database.begin() as tx:
            if not await projects.set_limits(tx, project_id, limits):
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
        expires_at: datetime | None = None,
    ) -> IssuedKey:
        """Create a key for the user of that email address. `token` is made at random unless given.

        Raises NotFound if one of the projects does not exist.
        """
        token = token or _TOKEN_PREFIX + secrets.token_urlsafe(32)
        async with self._database.begin() as tx:
            for project_id in project_ids or ():
                if await projects.find_project(tx, project_id) is None:
                    raise NotFound(f"There is no project {project_id}.")
            user = await projects.find_or_insert_user(tx, email, first_name, last_name)
            key_id = await api_keys.insert_key(
                tx,
                user_id=user.id,
                label=label,
                token_hash=_hash(token),
                scopes=scopes,
                project_ids=project_ids,
                hint=token[:_HINT_LENGTH] if len(token) >= _SHORTEST_HINTED else None,
                expires_at=expires_at,
            )
        return IssuedKey(
            id=key_id,
            token=token,
            scopes=tuple(sorted(scopes)),
            project_ids=None if project_ids is None else tuple(sorted(project_ids)),
            expires_at=expires_at,
        )

    async def list_keys(self) -> list[ApiKey]:
        """Every key, the oldest first, also revoked and expired ones."""
        async with self._database.begin() as tx:
            return await api_keys.list_keys(tx)

    async def revoke_key(self, named: str, *, every: bool = False) -> list[ApiKey]:
        """Revoke the key that matches `named` and return it; with `every`, all that match.

        `named` is a key's id or the beginning of it, its label, the beginning of its token, or the token itself. Raises
        NotFound if no key matches, and Invalid, with nothing revoked, if several match and `every` is False. A key that
        was revoked before matches too.
        """
        async with self._database.begin() as tx:
            found = await api_keys.list_keys(tx)
            whole = await api_keys.id_of_token(tx, _hash(named))
            exact = [key for key in found if key.id == whole or str(key.id) == named.lower()]
            matches = exact or [key for key in found if _is_called(key, named)]
            if not matches:
                raise NotFound("There is no such key; `matview key list --all` shows every one.")
            if len(matches) > 1 and not every:
                ids = ", ".join(str(key.id) for key in matches)
                raise Invalid(f"{len(matches)} keys are called that: {ids}. Name one by its id, or say --every.")
            ids_revoked = {key.id for key in matches}
            await api_keys.revoke(tx, ids_revoked)
            return [key for key in await api_keys.list_keys(tx) if key.id in ids_revoked]

    def _note_use(self, key_id: UUID) -> None:
        """Record the use of a key in the background: the request neither waits for that nor fails with it."""
        if key_id not in self._noting:
            task = asyncio.create_task(self._noted(key_id))
            self._noting[key_id] = task
            task.add_done_callback(lambda _: self._noting.pop(key_id, None))

    async def _noted(self, key_id: UUID) -> None:
        try:
            async with self._database.single() as tx:
                await api_keys.record_use(tx, key_id)
        except Exception as error:  # a read-only catalog can still authenticate
            logger.warning("the use of key %s could not be noted: %s", key_id, error)


def _refuse_unless_it_works(known: KnownKey) -> None:
    if known.revoked_at is not None:
        raise NotAuthenticated(f"This API key was revoked at {_moment(known.revoked_at)}.")
    if known.is_expired and known.expires_at is not None:
        raise NotAuthenticated(f"This API key expired at {_moment(known.expires_at)}.")


def _is_called(key: ApiKey, named: str) -> bool:
    begins = len(named) >= _SHORTEST_ID and str(key.id).startswith(named.lower())
    return begins or named == key.label != "" or named.rstrip("….") == key.hint


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
