"""Helpers that the tests of the API's OpenAPI document share."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
from temporalio.client import Client, ScheduleDescription
from temporalio.service import RPCError, RPCStatusCode

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.principal import Scope
from orchestrator.services.access import AccessService
from orchestrator.temporal import contract
from tests.support.tenants import PATIENCE, Json, Tenant

VIEWS = "/warehouse_saved_queries/"
NOTES = "/saved_query_column_annotations/"
TABLES = "/warehouse_tables/"


@dataclass(frozen=True)
class Operation:
    """A path and a method of the document."""

    method: str
    path: str
    says: Json

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def needs_key(self) -> bool:
        return self.path.startswith("/api/")

    @property
    def parameters(self) -> list[Json]:
        found: list[Json] = self.says.get("parameters", [])
        return found

    @property
    def path_parameters(self) -> set[str]:
        return {parameter["name"] for parameter in self.parameters if parameter["in"] == "path"}


def number_from_environment(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


async def document_of(stack: DevStack) -> Json:
    async with httpx.AsyncClient(base_url=stack.info["api_url"], timeout=PATIENCE) as http:
        answer = await http.get("/api/schema/")
    document: Json = answer.raise_for_status().json()
    return document


def operations_of(document: Json) -> list[Operation]:
    return [
        Operation(method.upper(), path, says)
        for path, methods in document["paths"].items()
        for method, says in methods.items()
    ]


def objects_in(node: object, where: str = "") -> Iterator[tuple[str, Json]]:
    """Every JSON object inside a document, with its path."""
    if isinstance(node, dict):
        yield where, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from objects_in(value, f"{where}/{key}")


@asynccontextmanager
async def a_key(stack: DevStack, project_id: int, *keyed: int, scopes: tuple[Scope, ...] = ()) -> AsyncIterator[Tenant]:
    """A client of a project, with a new key that may be used in the projects `keyed` only."""
    database = Database(stack.info["database_url"], pool_size=1)
    try:
        key = await AccessService(database).create_key(
            email="else@example.com", label="", scopes=scopes or list(Scope), project_ids=keyed or None
        )
    finally:
        await database.close()
    base_url = f"{stack.info['api_url']}/api/projects/{project_id}"
    headers = {"Authorization": f"Bearer {key.token}"}
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=PATIENCE) as http:
        yield Tenant(
            project_id,
            key.token,
            http,
            stack.info["database_url"],
            Path(stack.info["data_dir"]),
            stack.info["temporal_address"],
        )


async def temporal_of(stack: DevStack) -> Client:
    return await Client.connect(stack.info["temporal_address"], namespace=stack.info["temporal_namespace"])


async def schedule_of(temporal: Client, view_id: str) -> ScheduleDescription | None:
    """Temporal's own description of a view's schedule; None if there is none."""
    try:
        return await temporal.get_schedule_handle(contract.schedule_id(UUID(view_id))).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


async def run_is_open(temporal: Client, view_id: str) -> bool:
    """Whether Temporal has a run of the view in progress."""
    try:
        described = await temporal.get_workflow_handle(contract.run_workflow_id(UUID(view_id))).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return described.close_time is None
