"""Sessions of the console: a browser signs in with an API key, and may then do what that key may do."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import timedelta

from orchestrator.catalog import sessions
from orchestrator.catalog.api_keys import KnownKey
from orchestrator.catalog.database import Database
from orchestrator.model.errors import NotAuthenticated
from orchestrator.model.principal import Principal
from orchestrator.services.access import AccessService

SESSION_LASTS = timedelta(hours=12)
LINK_LASTS = timedelta(hours=1)
# Of one key. A browser that signs in again and again leaves rows, which would otherwise stay for hours.
_MOST_OF_KEY = 100


class SessionService:
    """Opens, finds and ends sessions. A token of one is 256 random bits; the catalog has only its hash."""

    def __init__(self, database: Database, access: AccessService) -> None:
        self._database = database
        self._access = access

    async def sign_in(self, api_token: str) -> str:
        """The token of a new session of the key with that token. Raises NotAuthenticated."""
        principal = await self._access.authenticate(api_token)
        return await self._open(principal, is_link=False, lasts=SESSION_LASTS)

    async def new_link(self, principal: Principal) -> str:
        """The token of a link with which a browser signs in once, within the hour."""
        return await self._open(principal, is_link=True, lasts=LINK_LASTS)

    async def follow_link(self, link_token: str) -> str:
        """The token of a new session. Raises NotAuthenticated for a link that was followed before, or has expired."""
        async with self._database.begin() as tx:
            known = await sessions.use_link(tx, hash_of(link_token))
        if known is None:
            raise NotAuthenticated("This link was used before, or has expired. Sign in with an API key.")
        return await self._open(self._access.admit(known), is_link=False, lasts=SESSION_LASTS)

    async def find(self, token: str) -> Principal:
        """The owner of the key of a session. Raises NotAuthenticated once it has ended, or its key was revoked.

        PostgreSQL is read each time, so every process refuses the session of a revoked key at once.
        """
        async with self._database.single() as tx:
            known = await sessions.find_session(tx, hash_of(token))
        return self._admit(known)

    async def sign_out(self, token: str) -> None:
        """End a session. Its token lets no browser in any more."""
        async with self._database.begin() as tx:
            await sessions.delete_session(tx, hash_of(token))

    async def working(self, hashes: Collection[bytes]) -> set[bytes]:
        """Those of the sessions that still let their browser in, each by the hash of its token."""
        async with self._database.single() as tx:
            return await sessions.working(tx, hashes)

    def _admit(self, known: KnownKey | None) -> Principal:
        if known is None:
            raise NotAuthenticated("The session has ended. Sign in again.")
        return self._access.admit(known)

    async def _open(self, principal: Principal, *, is_link: bool, lasts: timedelta) -> str:
        token = secrets.token_urlsafe(32)
        async with self._database.begin() as tx:
            await sessions.insert_session(
                tx,
                token_hash=hash_of(token),
                key_id=principal.key_id,
                is_link=is_link,
                lasts=lasts,
                most=_MOST_OF_KEY,
            )
        return token


def hash_of(token: str) -> bytes:
    """The hash by which the catalog knows a token."""
    return hashlib.sha256(token.encode()).digest()
