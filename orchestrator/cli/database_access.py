"""Database access for the operator's commands, which connect to PostgreSQL directly instead of calling the API.

The database's libraries are imported only when a command is called; see processes.py.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure
from orchestrator.cli.processes import away, settings_of
from orchestrator.model.errors import CatalogUnavailable, OrchestratorError

if TYPE_CHECKING:
    from orchestrator.services.access import AccessService

T = TypeVar("T")


def with_access(home: Path | None, work: Callable[["AccessService"], Awaitable[T]]) -> T:
    """Run `work` on the database of the chosen installation, and return its result. Raises Failure for its errors."""
    from orchestrator.catalog.database import Database
    from orchestrator.services.access import AccessService

    settings, origin = settings_of(home)
    url = settings.database_url

    async def go() -> T:
        database = Database(url, pool_size=1)
        try:
            return await work(AccessService(database))
        finally:
            await database.close()

    try:
        return asyncio.run(go())
    except CatalogUnavailable as error:
        raise Failure(away(str(error), home, origin)) from None
    except OrchestratorError as error:
        raise Failure(str(error)) from None


def storable(text: str) -> str:
    """The text itself. Raises Failure if it has no UTF-8 encoding, since PostgreSQL could not store it."""
    try:
        text.encode()
    except UnicodeEncodeError:  # an argument holds bytes that are not UTF-8
        raise Failure("what was given is not text in UTF-8", EXIT_USAGE) from None
    return text
