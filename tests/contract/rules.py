"""Shared by the tests of the API's rules: every endpoint that the contract names, and the scope that it needs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import httpx

from orchestrator.model.principal import Scope
from tests.contract.support import TABLES, VIEWS
from tests.support.tenants import Json, Tenant

ERROR_FIELDS = {"type", "code", "detail", "attr"}
ERROR_TYPES = {
    *("validation_error", "authentication_error", "permission_error", "not_found"),
    *("invalid_request", "throttled_error", "server_error"),
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Endpoint:
    """A path below a project, in which `{id}` is the id of the view or the table."""

    method: str
    path: str
    scope: Scope

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def has_id(self) -> bool:
        return "{id}" in self.path

    def of(self, an_id: object) -> str:
        return self.path.replace("{id}", str(an_id))


ENDPOINTS = [
    Endpoint("GET", VIEWS, Scope.VIEW_READ),
    Endpoint("POST", VIEWS, Scope.VIEW_WRITE),
    Endpoint("GET", f"{VIEWS}{{id}}/", Scope.VIEW_READ),
    Endpoint("PATCH", f"{VIEWS}{{id}}/", Scope.VIEW_WRITE),
    Endpoint("PUT", f"{VIEWS}{{id}}/", Scope.VIEW_WRITE),
    Endpoint("DELETE", f"{VIEWS}{{id}}/", Scope.VIEW_WRITE),
    Endpoint("GET", f"{VIEWS}{{id}}/activity/", Scope.ACTIVITY_READ),
    Endpoint("POST", f"{VIEWS}{{id}}/ancestors/", Scope.VIEW_READ),
    Endpoint("POST", f"{VIEWS}{{id}}/descendants/", Scope.VIEW_READ),
    Endpoint("GET", f"{VIEWS}{{id}}/dependencies/", Scope.VIEW_READ),
    Endpoint("POST", f"{VIEWS}{{id}}/materialize/", Scope.VIEW_WRITE),
    Endpoint("POST", f"{VIEWS}{{id}}/revert_materialization/", Scope.VIEW_WRITE),
    Endpoint("POST", f"{VIEWS}{{id}}/run/", Scope.VIEW_WRITE),
    Endpoint("POST", f"{VIEWS}{{id}}/cancel/", Scope.VIEW_WRITE),
    Endpoint("GET", f"{VIEWS}{{id}}/run_history/", Scope.VIEW_READ),
    Endpoint("POST", f"{VIEWS}resume_schedules/", Scope.VIEW_WRITE),
    Endpoint("GET", TABLES, Scope.TABLE_READ),
    Endpoint("POST", TABLES, Scope.TABLE_WRITE),
    Endpoint("GET", f"{TABLES}{{id}}/", Scope.TABLE_READ),
    Endpoint("PATCH", f"{TABLES}{{id}}/", Scope.TABLE_WRITE),
    Endpoint("PUT", f"{TABLES}{{id}}/", Scope.TABLE_WRITE),
    Endpoint("DELETE", f"{TABLES}{{id}}/", Scope.TABLE_WRITE),
    Endpoint("POST", f"{TABLES}{{id}}/refresh_schema/", Scope.TABLE_WRITE),
]
# Edits need an object, which may be empty; the other endpoints name the field that is missing.
EMPTY: dict[str, Json] = {"PATCH": {}, "PUT": {}}

# Actions whose bodies are any JSON object, or none.
ACTIONS = ["ancestors", "descendants", "cancel", "materialize", "revert_materialization", "run"]


async def ask(tenant: Tenant, endpoint: Endpoint, an_id: object = None, query: str = "") -> httpx.Response:
    """The answer of an endpoint to the smallest request about an object; by default, one that does not exist."""
    path = endpoint.of(an_id or uuid4()) + query
    return await tenant.http.request(endpoint.method, path, json=EMPTY.get(endpoint.method))


def is_error(answer: httpx.Response) -> bool:
    """Whether the body is that of an error, and of nothing else."""
    body: Json = answer.json()
    return (
        set(body) - {"position"} == ERROR_FIELDS
        and body["type"] in ERROR_TYPES
        and isinstance(body["code"], str)
        and bool(body["detail"])
        and isinstance(body["attr"], str | None)
    )


def times_in(node: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Every field of an answer that holds a time."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from times_in(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from times_in(value, name)
    elif isinstance(node, str) and (name.endswith("_at") or name == "timestamp"):
        yield name, node
