"""A share of the API for each key: how many of its requests are worked on at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import error_response
from orchestrator.model.errors import TooManyRequests
from orchestrator.model.principal import Principal

# How long a request waits for its turn, and how many of one key do.
WAIT_SECONDS = 30.0
MOST_WAITING = 128


class Shares:
    """Lets `at_a_time` requests of each key pass; the others wait in line for a while."""

    def __init__(self, at_a_time: int, *, wait_seconds: float = WAIT_SECONDS, most_waiting: int = MOST_WAITING) -> None:
        self._at_a_time = at_a_time
        self._wait_seconds = wait_seconds
        self._most = at_a_time + most_waiting
        self._turns: dict[UUID, asyncio.Semaphore] = {}
        self._asking: dict[UUID, int] = {}

    @asynccontextmanager
    async def turn(self, key_id: UUID) -> AsyncIterator[None]:
        """Wait for a place. Raises TooManyRequests if too many do already, or none becomes free in time."""
        if self._asking.get(key_id, 0) >= self._most:
            raise TooManyRequests
        turns = self._turns.setdefault(key_id, asyncio.Semaphore(self._at_a_time))
        self._asking[key_id] = self._asking.get(key_id, 0) + 1
        try:
            await self._wait(turns)
            try:
                yield
            finally:
                turns.release()
        finally:
            self._asking[key_id] -= 1
            if not self._asking[key_id]:
                del self._asking[key_id], self._turns[key_id]

    async def _wait(self, turns: asyncio.Semaphore) -> None:
        if not turns.locked():  # spares the timer
            await turns.acquire()
            return
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turns.acquire()
        except TimeoutError:
            raise TooManyRequests from None


class ShareMiddleware:
    """Has requests wait for their key's turn. To be put inside of what finds out whose key it is."""

    def __init__(self, app: ASGIApp, shares: Shares) -> None:
        self._app = app
        self._shares = shares

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        principal: Principal | None = scope.get("state", {}).get("principal") if scope["type"] == "http" else None
        if principal is None:
            await self._app(scope, receive, send)
            return
        try:
            async with self._shares.turn(principal.key_id):
                await self._app(scope, receive, send)
        except TooManyRequests as error:
            await error_response(error)(scope, receive, send)
