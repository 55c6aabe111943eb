"""Requests made from the API's document, with a key that may do everything in a project and with keys that may not.

No request gets a server error or an answer outside of the document, and a key of another project changes nothing here.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any, TypeAlias

import pytest
import schemathesis
from hypothesis import Phase, given, settings
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
from orchestrator.model.principal import Scope
from tests.contract.support import VIEWS, a_key, document_of
from tests.fuzz.support import bounded, long_enough
from tests.support.tenants import Json, Tenant

EXAMPLES = 124
_SHARES = 31 * 2  # the operations that there are, each with valid and with invalid requests
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
AnyCase: TypeAlias = schemathesis.Case[Any]
AnyOperation: TypeAlias = schemathesis.APIOperation[Any, Any, Any, Any]


class Asker:
    """Sends the requests that schemathesis generates, and records the answers that are wrong."""

    def __init__(self, stack: DevStack, token: str, known: Json) -> None:
        self._url = stack.info["api_url"]
        self._headers = {"Authorization": f"Bearer {token}"}
        self._known = known
        self.answers: Counter[str] = Counter()
        self.wrong: dict[str, str] = {}
        self.let_in: set[str] = set()

    def ask(self, case: AnyCase) -> None:
        """Send a request. Every other one is about objects that exist, the others about generated ids."""
        if self.answers.total() % 2:
            case.path_parameters |= {key: self._known[key] for key in case.path_parameters if key in self._known}
        answer = case.call(base_url=self._url, headers=self._headers)
        where = f"{case.method} {case.path} {answer.status_code}"
        self.answers[where] += 1
        if answer.status_code < 300 and str(case.path_parameters.get("project_id")) == str(self._known["project_id"]):
            self.let_in.add(where)
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as failures:
            self.wrong.setdefault(where, str(failures.exceptions))
        if "x-request-id" not in answer.headers:
            self.wrong.setdefault(where, "no id of the request")

    def ask_about(self, operation: AnyOperation, mode: schemathesis.GenerationMode) -> None:
        """Make the requests of one operation."""
        base = bounded(EXAMPLES)
        few = settings(base, max_examples=max(1, base.max_examples // _SHARES), phases=[Phase.generate])
        with suppress(Unsatisfiable):  # a request without parameters cannot be invalid
            few(given(case=operation.as_strategy(generation_mode=mode))(self.ask))()


async def _ask_all(asker: Asker, document: Json) -> None:
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(found, Ok), f"not understood: {found}"
        for mode in schemathesis.GenerationMode:
            await asyncio.to_thread(asker.ask_about, found.ok(), mode)
    assert not asker.wrong, "\n\n".join(f"{where}: {why}" for where, why in asker.wrong.items())


@pytest.mark.timeout(long_enough(EXAMPLES) * 2)
async def test_a_key_that_may_do_everything_gets_no_answer_outside_of_the_document(
    stack: DevStack, tenant: Tenant
) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    asker = Asker(stack, tenant.token, {"project_id": tenant.project_id, "saved_query_id": view["id"]})
    await _ask_all(asker, await document_of(stack))
    assert asker.let_in


@pytest.mark.timeout(long_enough(EXAMPLES) * 2)
@pytest.mark.parametrize("scopes", [tuple(Scope), (Scope.VIEW_READ,)], ids=["every scope", "one scope"])
async def test_a_key_of_another_project_is_let_in_nowhere_and_changes_nothing(
    stack: DevStack, tenant: Tenant, scopes: tuple[Scope, ...]
) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")
    known = {"project_id": tenant.project_id, "saved_query_id": view["id"]}
    before = [await tenant.view(view["id"]), await tenant.call("GET", VIEWS)]
    async with a_key(stack, 1, 1, scopes=scopes) as hostile:
        asker = Asker(stack, hostile.token, known)
        await _ask_all(asker, await document_of(stack))
    assert [await tenant.view(view["id"]), await tenant.call("GET", VIEWS)] == before
    assert not asker.let_in
