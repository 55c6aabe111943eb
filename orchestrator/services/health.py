"""Whether this process can serve."""

from orchestrator.catalog import migrate
from orchestrator.catalog.database import Database
from orchestrator.model.errors import CatalogUnavailable
from orchestrator.temporal.run_workflows import RunWorkflows


class HealthService:
    """Checks the servers that everything depends on."""

    def __init__(self, database: Database, workflows: RunWorkflows) -> None:
        self._database = database
        self._workflows = workflows

    async def check(self) -> None:
        """Raise CatalogUnavailable or TemporalUnavailable, with a message that says which is away or how to act."""
        found, expected = await self._database.migration(), migrate.head()
        if found != expected:
            raise CatalogUnavailable(
                f"The database is at schema {found or 'none'}, this release needs {expected}: run 'matview migrate'."
            )
        await self._workflows.ping()
