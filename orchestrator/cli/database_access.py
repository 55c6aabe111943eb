"""How the commands of an installation's operator reach its database: they go there themselves, and not over the API.

The database's libraries are imported when a command is called; see servers.py.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orchestrator.cli.installation import EXIT_USAGE, installation
from orchestrator.cli.output import Failure
from orchestrator.cli.processes import checked_settings
from orchestrator.model.errors import CatalogUnavailable, OrchestratorError

if TYPE_CHECKING:
    from orchestrator.services.access import AccessService

T = TypeVar("T")


def with_access(home: Path | None, work: Callable[["AccessService"], Awaitable[T]]) -> T:
    """What `work` returns, on the installation that is meant. Raises Failure for what it raises."""
    from orchestrator.catalog.database import Database
    from orchestrator.services.access import AccessService

    found, origin = installation(home)
    url = checked_settings(**found).database_url

    async def go() -> T:
        database = Database(url, pool_size=1)
        try:
            return await work(AccessService(database))
        finally:
            await database.close()

    try:
        return asyncio.run(go())
    except CatalogUnavailable as error:
        hint = f" {origin} says where it was; is that `matview dev` running?" if found else ""
        raise Failure(f"{error}{hint}") from None
    except OrchestratorError as error:
        raise Failure(str(error)) from None


def storable(text: str) -> str:
    """The text, which PostgreSQL can keep. Raises Failure for one that it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that the terminal passed on as they were
        raise Failure("what was given is not text in UTF-8", EXIT_USAGE) from None
    return text
