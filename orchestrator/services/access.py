"""Access: from a token to the person it stands for, and the making and taking back of projects and keys."""

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
# What is shown of a token, so that a person can tell keys apart: thirty of its 256 random bits.
_HINT_LENGTH = 8
# A token that is shorter was chosen by hand: its beginning could give it away.
_SHORTEST_HINTED = 40
# Fewer characters of an id would too easily be another key's.
_SHORTEST_ID = 4


class IssuedKey(Value):
    """A key as its owner sees it, once."""

    id: UUID
    token: str
    scopes: tuple[Scope, ...]
    project_ids: tuple[int, ...] | None
    expires_at: datetime | None


class AccessService:
    """Who may do what."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Nothing removes a project, so one that was found once is there. Keys can be revoked: none is remembered.
        self._found: set[int] = set()
        self._noting: dict[UUID, asyncio.Task[None]] = {}

    async def authenticate(self, token: str | None) -> Principal:
        """The owner of a token. PostgreSQL is asked each time, so a key that is revoked is refused at once everywhere.

        Raises NotAuthenticated, in the same words for every token that never was one; for one that was, it says what
        became of it.
        """
        if not token:
            raise NotAuthenticated
        async with self._database.single() as tx:
            known = await api_keys.find_key(tx, _hash(token))
        if known is None:
            raise NotAuthenticated("Invalid personal API key.")
        _refuse_unless_it_works(known)
        if known.use_is_due:
            self._note_use(known.principal.key_id)
        return known.principal

    async def close(self) -> None:
        """Wait for the notes that are being made; to be called before the database is closed."""
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
        """A new project."""
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
        """A new key for the person of that address. `token` is made at random unless given.

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
        """Every key, the oldest first; those that are refused as well."""
        async with self._database.begin() as tx:
            return await api_keys.list_keys(tx)

    async def revoke_key(self, named: str, *, every: bool = False) -> list[ApiKey]:
        """Refuse a key from now on; returns those that are revoked now, one unless `every` was asked for.

        `named` is its id or how that begins, its label, how its token begins, or the token itself. Raises NotFound if
        that is no key, and Invalid, with nothing revoked, if it is several and `every` is False. One that was revoked
        before is revoked all the same.
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
        """Note beside the request that the key was used: it neither waits for that nor fails with it."""
        if key_id not in self._noting:
            task = asyncio.create_task(self._noted(key_id))
            self._noting[key_id] = task
            task.add_done_callback(lambda _: self._noting.pop(key_id, None))

    async def _noted(self, key_id: UUID) -> None:
        try:
            async with self._database.single() as tx:
                await api_keys.record_use(tx, key_id)
        except Exception as error:  # a catalog that can only be read still says who may read
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
