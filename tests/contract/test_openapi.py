"""The API's OpenAPI document: every answer conforms to it, and it describes everything.

`MATVIEW_GENERATED_REQUESTS` is about how many requests are made from it.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from orchestrator.devstack.stack import DevStack
from orchestrator.model.source_table import ReadOptions
from tests.contract.support import (
    NOTES,
    TABLES,
    VIEWS,
    Operation,
    document_of,
    number_from_environment,
    objects_in,
    operations_of,
)
from tests.support.tenants import PATIENCE, Json, Tenant, write_parquet

AnyCase: TypeAlias = schemathesis.Case[Any]
AnyOperation: TypeAlias = schemathesis.APIOperation[Any, Any, Any, Any]

# From so many on, each operation is also asked for something that it can do.
ENOUGH_REQUESTS = 400
REQUESTS = number_from_environment("MATVIEW_GENERATED_REQUESTS", 128)
# No run here lasts long enough to be cancelled, except by chance, no source has a bad row, and no table a description.
UNREACHED = {
    "POST /api/projects/{project_id}/warehouse_saved_queries/{saved_query_id}/cancel/",
    "GET /api/projects/{project_id}/warehouse_saved_queries/{saved_query_id}/snapshots/{snapshot_id}/quarantine/",
    *(
        f"{method} /api/projects/{{project_id}}/warehouse_column_annotations/{{annotation_id}}/"
        for method in ("GET", "PATCH", "DELETE")
    ),
    # The view is edited in between.
    "POST /api/projects/{project_id}/warehouse_saved_queries/{saved_query_id}/tries/{try_id}/promote/",
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
QUERIES = ["SELECT 1 AS n", "SELECT n FROM victim", "SELECT n FROM nowhere", "SELECT {'a': 1} AS n", ""]
NAMES = ["victim", "other", "a.b", "events", "System.x", "1", "v" * 129]


class Things:
    """A materialized view and a table that always exist: they are made again once a request has deleted them."""

    def __init__(self, tenant: Tenant, pattern: Path) -> None:
        self._http = httpx.Client(base_url=tenant.http.base_url, headers=tenant.http.headers, timeout=PATIENCE)
        self._pattern = str(pattern)
        self._ids: dict[str, str] = {}
        self._numbers = itertools.count()
        self._project_id = tenant.project_id

    def close(self) -> None:
        self._http.close()

    def ids(self) -> dict[str, object]:
        """The values for the parameters of a path."""
        view = self._view()
        return {
            "project_id": self._project_id,
            "saved_query_id": view,
            "table_id": self._table(),
            "snapshot_id": self._snapshot(view),
            "annotation_id": self._annotation(view),
            "try_id": self._try(view),
            "check_id": self._check(view)["id"],
            "result_id": self._check(view)["latest_run"]["id"],
        }

    def sensible(self, body: Any, number: int) -> Any:
        """The body with values that are more often valid than random ones. For an odd `number`, it is a valid body."""
        if not isinstance(body, dict):
            return body
        valid: Json = {
            "name": f"valid_{number}",
            "query": {"kind": "HogQLQuery", "query": "SELECT 1 AS n"},
            "format": "Parquet",
            "url_pattern": self._pattern,
            "view_ids": [self._view()],
            "soft_update": True,
            "snapshot_id": self._snapshot(self._view()),
            "pinned": True,
            "saved_query": self._view(),
            "table": self._table(),
            "column_name": "",
            "description": "what it means",
            "check_type": "row_count",
            "config": {"max": number},
            **dict.fromkeys(("columns", "header", *ReadOptions.model_fields)),
        }
        if number % 2:
            return body | valid
        likely = valid | {
            "name": NAMES[number // 2 % len(NAMES)],
            "query": {"kind": "HogQLQuery", "query": QUERIES[number // 2 % len(QUERIES)]},
        }
        return {key: likely.get(key, value) for key, value in body.items()}

    def _view(self) -> str:
        known = self._ids.get(VIEWS)
        found = self._living(VIEWS, {"query": {"query": "SELECT 0 AS n"}})
        if found != known:
            self._http.post(f"{VIEWS}{found}/materialize/").raise_for_status()
            while self._http.get(f"{VIEWS}{found}/").raise_for_status().json()["current_snapshot_id"] is None:
                time.sleep(0.05)
        return found

    def _snapshot(self, view: str) -> str:
        """The current snapshot of a view, or an id that does not exist if the view was reverted."""
        shown = self._http.get(f"{VIEWS}{view}/").raise_for_status().json()
        return str(shown["current_snapshot_id"] or uuid4())

    def _annotation(self, view: str) -> str:
        """The annotation of a view itself."""
        body = {"saved_query": view, "description": "what it means"}
        return str(self._http.post(NOTES, json=body).raise_for_status().json()["id"])

    def _check(self, view: str) -> Json:
        """A check of the view, which has a result."""
        checks = f"{VIEWS}{view}/checks/"
        body = {"check_type": "row_count", "config": {"min": 0}}
        found: Json = self._http.post(checks, json=body).raise_for_status().json()
        if found["latest_run"] is None:
            self._http.post(f"{checks}{found['id']}/run/").raise_for_status()
            found = self._http.get(f"{checks}{found['id']}/").raise_for_status().json()
        return found

    def _try(self, view: str) -> str:
        """A try of the view that is there, or an id that does not exist if there can be none."""
        found = self._http.get(f"{VIEWS}{view}/tries/").raise_for_status().json()["results"]
        if not found:
            answer = self._http.post(f"{VIEWS}{view}/try/", json={"query": {"query": "SELECT 5 AS n"}})
            return str(answer.json()["id"] if answer.is_success else uuid4())
        return str(found[0]["id"])

    def _table(self) -> str:
        return self._living(TABLES, {"format": "Parquet", "url_pattern": self._pattern})

    def _living(self, path: str, body: Json) -> str:
        if path not in self._ids or not self._http.get(f"{path}{self._ids[path]}/").is_success:
            answer = self._http.post(path, json=body | {"name": f"made_{next(self._numbers)}"})
            self._ids[path] = str(answer.raise_for_status().json()["id"])
        return self._ids[path]


@pytest.fixture
async def things(tenant: Tenant, sources: Path) -> AsyncIterator[Things]:
    made = Things(tenant, write_parquet(sources / "contract" / "events.parquet", n=[1, 2]))
    yield made
    made.close()


@pytest.fixture
async def document(stack: DevStack) -> Json:
    return await document_of(stack)


def _ask(operation: AnyOperation, mode: schemathesis.GenerationMode, ask: Callable[..., None]) -> None:
    """Make the requests for one operation, the same in every session."""
    run = settings(
        max_examples=max(1, REQUESTS // _SHARES),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    cases = operation.as_strategy(generation_mode=mode)
    # A request without parameters cannot be invalid.
    with suppress(Unsatisfiable):
        run(given(case=cases, real=st.sampled_from([True, True, True, False]))(ask))()


_SHARES = 32 * 2  # the operations that there are, each with valid and with invalid requests


@pytest.mark.timeout(180 + REQUESTS)
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
async def test_every_answer_is_what_the_document_says(
    stack: DevStack, tenant: Tenant, things: Things, document: Json, mode: schemathesis.GenerationMode
) -> None:
    asked: Counter[str] = Counter()
    wrong: dict[str, str] = {}

    def ask(case: AnyCase, real: bool) -> None:
        if real:
            case.path_parameters |= {key: value for key, value in things.ids().items() if key in case.path_parameters}
            case.body = things.sensible(case.body, asked.total())
        answer = case.call(base_url=stack.info["api_url"], headers={"Authorization": f"Bearer {tenant.token}"})
        asked[f"{case.method} {case.path} {answer.status_code}"] += 1
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as failures:
            wrong.setdefault(f"{case.method} {case.path} {answer.status_code}", str(failures.exceptions))

    schema = schemathesis.openapi.from_dict(document)
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), f"not understood: {found}"
        await asyncio.to_thread(_ask, found.ok(), mode, ask)
    assert not wrong, "\n\n".join(f"{where}: {why}" for where, why in wrong.items())
    if mode is schemathesis.GenerationMode.POSITIVE and REQUESTS >= ENOUGH_REQUESTS:
        reached = {line.rpartition(" ")[0] for line in asked if line.rpartition(" ")[2].startswith("2")}
        assert {str(operation) for operation in operations_of(document)} - reached <= UNREACHED


def test_every_operation_and_every_parameter_is_described(document: Json) -> None:
    bare = [str(operation) for operation in operations_of(document) if not operation.says.get("description")]
    for operation in operations_of(document):
        bare += [f"{operation} {one['name']}" for one in operation.parameters if not one.get("description")]
        answers = operation.says["responses"].items()
        bare += [f"{operation} {status}" for status, answer in answers if not answer.get("description")]
    assert not bare, "\n".join(bare)


def test_every_object_and_every_field_is_described(document: Json) -> None:
    schemas: Json = document["components"]["schemas"]
    bare = [name for name, schema in schemas.items() if not schema.get("description")]
    for name, schema in schemas.items():
        fields = schema.get("properties", {}).items()
        bare += [f"{name}.{field}" for field, says in fields if not says.get("description")]
    assert not bare, "\n".join(bare)


def test_every_operation_documents_the_errors_that_it_can_answer(document: Json) -> None:
    missing = []
    for operation in operations_of(document):
        expected = _errors_of(operation)
        missing += [f"{operation} {status}" for status in sorted(expected - set(operation.says["responses"]))]
    assert not missing, "\n".join(missing)


def _errors_of(operation: Operation) -> set[str]:
    """The statuses of errors that any client can cause, and that of a server that is out of reach."""
    if not operation.needs_key:
        return {"503"} if operation.path == "/readyz" else set()
    in_project = {"403", "404"} if "project_id" in operation.path_parameters else set()
    sends = "requestBody" in operation.says or any(one["in"] == "query" for one in operation.parameters)
    return {"401", "503"} | in_project | ({"400"} if sends else set())


def test_no_operation_documents_an_answer_that_it_never_gives(document: Json) -> None:
    never = [str(operation) for operation in operations_of(document) if "422" in operation.says["responses"]]
    assert not never, "\n".join(never)
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_error_has_the_one_body(document: Json) -> None:
    others = []
    for operation in operations_of(document):
        for status, answer in operation.says["responses"].items():
            schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
            if status >= "400" and schema != {"$ref": "#/components/schemas/ErrorBody"}:
                others.append(f"{operation} {status}")
    assert not others, "\n".join(others)


def test_every_operation_has_an_id_of_its_own_and_a_summary(document: Json) -> None:
    operations = operations_of(document)
    assert len({operation.says["operationId"] for operation in operations}) == len(operations)
    assert all(operation.says["summary"] for operation in operations)


def test_every_operation_below_the_api_needs_a_key(document: Json) -> None:
    opened = [str(operation) for operation in operations_of(document) if not operation.says.get("security")]
    assert opened == ["GET /livez", "GET /readyz"]


def test_a_new_view_needs_a_name_and_a_query(document: Json) -> None:
    assert set(document["components"]["schemas"]["SaveView"]["required"]) == {"name", "query"}


def test_the_examples_are_valid(document: Json) -> None:
    seen = 0
    for where, schema in objects_in(document["components"]["schemas"]):
        for example in schema.get("examples", []) if isinstance(schema.get("examples"), list) else []:
            validator = jsonschema_rs.validator_for({**schema, "components": document["components"]})
            assert validator.is_valid(example), f"{where}: {example}"
            seen += 1
    assert seen
