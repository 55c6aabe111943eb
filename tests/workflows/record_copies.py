"""The histories of generations that copy tables of a database before their queries run."""

import asyncio
import json
import os
from pathlib import Path
from uuid import UUID

from temporalio.client import Client

from orchestrator.temporal import contract
from tests.support.postgres_server import PASSWORD, USER, PostgresServer, postgres_server
from tests.support.tenants import Json, a_tenant, dev_stack, until
from tests.workflows.recorder import Recorder

_SLOW = "CREATE VIEW slow AS SELECT g AS n, pg_sleep(0.02)::text AS t FROM generate_series(1, 100000) g"


async def record_copies(folder: Path) -> None:
    """Record them, on a stack of their own."""
    async with postgres_server(folder / "source-postgres") as server:
        os.environ["MATVIEW_SOURCE_DATABASES"] = json.dumps([server.allowed])
        async with dev_stack(folder / "copying") as stack, a_tenant(stack) as tenant:
            client = await Client.connect(stack.info["temporal_address"])
            await CopyRecorder(tenant, client).record(server)


class CopyRecorder(Recorder):
    """Refreshes views over tables of a database, and saves the histories."""

    async def record(self, server: PostgresServer) -> None:
        """Record a generation of which one table cannot be copied, a run that is skipped, and one that is cancelled."""
        await asyncio.to_thread(
            server.run,
            "CREATE TABLE good AS SELECT 1 AS n",
            "CREATE TABLE bad AS SELECT 1 AS n",
            _SLOW,
            f"GRANT SELECT ON good, bad, slow TO {USER}",
        )
        for name in ("good", "bad", "slow"):
            await self._add(server, name)
        views = {name: await self.tenant.create_view(f"of_{name}", f"SELECT n FROM {name}") for name in ("good", "bad")}
        for view in views.values():
            await self.tenant.act(view["id"], "materialize", {"run": False})
        await asyncio.to_thread(server.run, "DROP TABLE bad")
        select = {"select": {"views": [view["id"] for view in views.values()]}}
        generation = await self.tenant.call("POST", "/generations/", select, expect=202)
        await self.save("generation-copied-in-part", generation["workflow_id"])
        await self.tenant.act(views["good"]["id"], "run", {})
        await self.tenant.ended(views["good"]["id"], runs=2)
        await self.save("run-copied-skipped", contract.run_workflow_id(UUID(views["good"]["id"])))
        slow = await self.tenant.create_view("of_slow", "SELECT n FROM slow")
        await self.tenant.act(slow["id"], "materialize")

        async def copies() -> bool:
            found = await asyncio.to_thread(
                server.run, "SELECT 1 FROM pg_stat_activity WHERE application_name = 'matview' AND query LIKE '%slow%'"
            )
            return bool(found)

        await until(copies, "the copy")
        await self.tenant.act(slow["id"], "cancel")
        await self.save("run-copied-cancelled", contract.run_workflow_id(UUID(slow["id"])))

    async def _add(self, server: PostgresServer, name: str) -> Json:
        credential = {"access_key": USER, "access_secret": PASSWORD}
        body = {"name": name, "format": "PostgreSQL", "url_pattern": server.url(f"public.{name}")}
        return await self.tenant.call("POST", "/warehouse_tables/", body | {"credential": credential}, expect=201)
