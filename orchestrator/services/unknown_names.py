"""Explains a name in a statement that no view or table of the project has."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from orchestrator.catalog import names
from orchestrator.catalog.database import Database
from orchestrator.model.errors import InvalidQuery, OrchestratorError
from orchestrator.model.nearest import did_you_mean
from orchestrator.model.position import Position
from orchestrator.model.sql_habits import of_name

_SHOWN = 200


class UnknownName(InvalidQuery):
    """A statement reads a name that no view or table of the project has."""

    def __init__(self, name: str) -> None:
        """`name` is spelled as in the statement."""
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
        super().__init__(f"Catalog Error: Table with name {shown} does not exist!", attr="query")
        self.name = name


async def known_names(database: Database, project_id: int) -> list[str]:
    """The names of all views and tables of a project."""
    async with database.single() as tx:
        return list(await names.all_names(tx, project_id))


async def nowhere(_name: str) -> Position | None:
    """No place, of a name in a text that DuckDB does not read."""
    return None


async def explained(
    error: UnknownName, known: Iterable[str], find: Callable[[str], Awaitable[Position | None]]
) -> InvalidQuery:
    """The error with the place of the name, which `find` gives, and the one of `known` that the person may mean."""
    advice = of_name(error.name)
    if not advice:
        # In a thread: to compare ten thousand names takes a tenth of a second.
        advice = (await asyncio.to_thread(did_you_mean, error.name, known)).strip()
    try:
        position = await find(error.name)
    except OrchestratorError:  # the server is busy, and the error itself is known
        position = None
    return InvalidQuery(f"{error.message} {advice}".strip(), attr="query", position=position)
