"""A client can see, change or learn nothing of another project, with any operation in the OpenAPI document."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from temporalio.client import Client

from orchestrator.devstack.stack import DevStack
from tests.contract.support import (
    NOTES,
    TABLES,
    VIEWS,
    Operation,
    a_key,
    document_of,
    operations_of,
    schedule_of,
    temporal_of,
)
from tests.support.tenants import Json, Tenant, a_tenant, until, write_parquet

ID_PARAMETERS = {"saved_query_id", "table_id", "snapshot_id", "generation_id", "try_id", "check_id", "result_id"}
# Bodies that would do harm if the API accepted them.
HARM: dict[str, Json] = {
    "VIEW": {"name": "stolen", "query": {"query": "SELECT 666 AS n"}, "soft_update": True, "sync_frequency": "15min"},
    "TABLE": {"name": "stolen", "format": "Parquet", "url_pattern": "/nowhere/*.parquet"},
}


# Headers whose values differ in every answer.
_OF_THE_MOMENT = {"date", "x-request-id"}


@dataclass
class Victim:
    """A project with a materialized view, its generation, a try of it, a view that reads it, a paused view, a table."""

    tenant: Tenant
    temporal: Client
    view: Json
    reader: Json
    paused: Json
    table: Json
    generation_id: str
    annotation_id: str
    try_id: str
    check_id: str
    result_id: str

    async def state(self) -> Json:
        """The whole state of the project in the API and in Temporal, for comparison."""
        ids = [self.view["id"], self.reader["id"], self.paused["id"]]
        schedules = [await schedule_of(self.temporal, view_id) for view_id in ids]
        return {
            "views": [await self.tenant.view(view_id) for view_id in ids],
            "list": await self.tenant.call("GET", VIEWS),
            "tables": await self.tenant.call("GET", TABLES),
            "versions": [await self.tenant.call("GET", f"{VIEWS}{view_id}/snapshots/") for view_id in ids],
            "runs": [await self.tenant.history(view_id) for view_id in ids],
            "generations": await self.tenant.call("GET", "/generations/"),
            "annotations": await self.tenant.call("GET", NOTES),
            "checks": [await self.tenant.call("GET", f"{VIEWS}{view_id}/checks/") for view_id in ids],
            "tries": [await self.tenant.call("GET", f"{VIEWS}{view_id}/tries/") for view_id in ids],
            "journal": [await self.tenant.call("GET", f"{VIEWS}{view_id}/activity/?limit=100") for view_id in ids],
            "schedules": [
                found and (found.schedule.state.paused, found.schedule.spec.intervals) for found in schedules
            ],
        }


@pytest.fixture
async def document(stack: DevStack) -> Json:
    return await document_of(stack)


# One for all tests: each asserts that the state of this project is afterwards what it was before.
@pytest.fixture(scope="module")
async def victim(stack: DevStack, sources: Path) -> AsyncIterator[Victim]:
    async with a_tenant(stack) as owner:
        table = await owner.add_table("secrets", write_parquet(sources / "victim" / "secrets.parquet", n=[1, 2]))
        view = await owner.materialized("salaries", "SELECT n FROM secrets")
        reader = await owner.create_view("totals", "SELECT sum(n) AS n FROM salaries")
        paused = await owner.materialized("rested", "SELECT 1 AS n")
        paused = await owner.call("PATCH", f"{VIEWS}{paused['id']}/", {"sync_frequency": "never"})
        generations = (await owner.call("GET", f"/generations/?view={view['id']}"))["results"]
        described = {"saved_query": view["id"], "column_name": "n", "description": "what they earn"}
        note = await owner.call("POST", NOTES, described, expect=201)
        view = await owner.view(view["id"])
        try_id = await a_try(owner, view)
        temporal = await temporal_of(stack)
        checks = f"{VIEWS}{view['id']}/checks/"
        check = await owner.call("POST", checks, {"check_type": "unique", "column_name": "n"}, expect=201)
        result = await owner.call("POST", f"{checks}{check['id']}/run/", expect=201)
        made = (generations[0]["id"], note["id"], try_id, check["id"], result["id"])
        yield Victim(owner, temporal, view, reader, paused, table, *made)


async def a_try(owner: Tenant, view: Json) -> str:
    """The id of a try of the view that has ended."""
    edit = await owner.call("POST", f"{VIEWS}{view['id']}/try/", {"query": {"query": "SELECT 3 AS n"}}, expect=202)

    async def is_ready() -> bool:
        found = await owner.call("GET", f"{VIEWS}{view['id']}/tries/{edit['id']}/")
        return bool(found["status"] == "Ready")

    await until(is_ready, "the end of the try")
    return str(edit["id"])


@pytest.fixture
async def stranger(stack: DevStack, victim: Victim) -> AsyncIterator[Tenant]:
    """A client with every scope in another project."""
    async with a_tenant(stack) as found:
        assert found.project_id != victim.tenant.project_id
        yield found


def _in_a_project(document: Json) -> list[Operation]:
    found = [operation for operation in operations_of(document) if "project_id" in operation.path_parameters]
    assert len(found) > 20
    return found


def _body_for(operation: Operation, victim: Victim) -> Json | None:
    if "requestBody" not in operation.says:
        return None
    bodies: dict[str, Json] = {
        "/resume_schedules/": {"view_ids": [victim.paused["id"]]},
        "/rollback/": {"snapshot_id": victim.view["current_snapshot_id"]},
        "/{snapshot_id}/": {"pinned": True},
        "/promote/": {"reason": "stolen"},
        "/checks/": {"check_type": "row_count", "config": {"min": 0}},
        "/checks/{check_id}/": {"severity": "warn"},
        "/ancestors/": {"level": 1},
        "/descendants/": {"level": 1},
        "/generations/": {"select": {"views": [victim.view["id"]]}},
        "/query/": {"query": {"query": "SELECT n FROM salaries"}},
        "/execute_sql/": {"args": {"query": "SELECT n FROM salaries"}},
    }
    harm = HARM["TABLE"] if "warehouse_tables" in operation.path else HARM["VIEW"]
    return next((body for ending, body in bodies.items() if operation.path.endswith(ending)), harm)


async def _ask(
    who: Tenant, operation: Operation, victim: Victim, *, project_id: int, view: str, table: str
) -> httpx.Response:
    ids = {"saved_query_id": view, "table_id": table} | _other_ids(victim)
    path = operation.path.format(project_id=project_id, **ids)
    url = str(who.http.base_url).partition("/api/")[0] + path
    return await who.http.request(operation.method, url, json=_body_for(operation, victim))


def _other_ids(victim: Victim) -> Json:
    return {
        "snapshot_id": victim.view["current_snapshot_id"],
        "generation_id": victim.generation_id,
        "annotation_id": victim.annotation_id,
        "try_id": victim.try_id,
        "check_id": victim.check_id,
        "result_id": victim.result_id,
        "client_query_id": "mine",
    }


def _seen_of(answer: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """The status, body and headers of an answer, without its time and its request id."""
    return answer.status_code, answer.content, sorted(h for h in answer.headers.items() if h[0] not in _OF_THE_MOMENT)


async def test_another_projects_key_gets_403_everywhere_and_changes_nothing(
    document: Json, victim: Victim, stranger: Tenant
) -> None:
    before = await victim.state()
    bodies = set()
    for operation in _in_a_project(document):
        for view, table in ((victim.view["id"], victim.table["id"]), (str(uuid4()), str(uuid4()))):
            project_id = victim.tenant.project_id
            answer = await _ask(stranger, operation, victim, project_id=project_id, view=view, table=table)
            assert answer.status_code == 403, f"{operation}: {answer.status_code} {answer.text}"
            if operation.method != "HEAD":
                bodies.add(answer.content)
    assert len(bodies) == 1, bodies
    assert await victim.state() == before


async def test_a_project_that_does_not_exist_looks_like_one_of_somebody_else(
    document: Json, victim: Victim, stranger: Tenant
) -> None:
    ids = {"view": victim.view["id"], "table": victim.table["id"]}
    for operation in _in_a_project(document):
        foreign = await _ask(stranger, operation, victim, project_id=victim.tenant.project_id, **ids)
        nobodys = await _ask(stranger, operation, victim, project_id=2**31 - 1, **ids)
        assert _seen_of(foreign) == _seen_of(nobodys), str(operation)


async def test_foreign_ids_in_ones_own_project_are_404_as_any_unknown_id_is(
    document: Json, victim: Victim, stranger: Tenant
) -> None:
    before = await victim.state()
    asked = 0
    for operation in _in_a_project(document):
        if not operation.path_parameters & ID_PARAMETERS:
            continue
        own = stranger.project_id
        ids = [(victim.view["id"], victim.table["id"]), (victim.paused["id"], victim.table["id"])]
        answers = [
            await _ask(stranger, operation, victim, project_id=own, view=view, table=table)
            for view, table in [*ids, (str(uuid4()), str(uuid4()))]
        ]
        assert {answer.status_code for answer in answers} == {404}, f"{operation}: {answers[0].text}"
        assert _seen_of(answers[0]) == _seen_of(answers[1]) == _seen_of(answers[2]), str(operation)
        asked += 1
    assert asked > 15
    assert await victim.state() == before


@pytest.mark.parametrize("which", ["id", "name"])
async def test_views_of_another_project_cannot_be_refreshed(victim: Victim, stranger: Tenant, which: str) -> None:
    before = await victim.state()
    mine = await stranger.create_view("mine", "SELECT 1 AS n")
    for view in (victim.view[which], str(uuid4())):
        select = {"views": [mine["id"], view]}
        refused = await stranger.error("POST", "/generations/", {"select": select}, status=404)
        assert refused["detail"] == f'There is no view "{view}" in this project.'
    await stranger.error("GET", f"/generations/?view={victim.view[which]}", status=404)
    assert await victim.state() == before


async def test_a_key_that_may_be_used_elsewhere_only_gets_403_everywhere(
    document: Json, victim: Victim, stranger: Tenant, stack: DevStack
) -> None:
    before = await victim.state()
    async with a_key(stack, victim.tenant.project_id, stranger.project_id) as limited:
        for operation in _in_a_project(document):
            ids = {"view": victim.view["id"], "table": victim.table["id"]}
            answer = await _ask(limited, operation, victim, project_id=victim.tenant.project_id, **ids)
            assert answer.status_code == 403, f"{operation}: {answer.status_code} {answer.text}"
    assert await victim.state() == before


async def test_a_key_for_both_projects_finds_the_things_of_each_only_there(
    document: Json, victim: Victim, stranger: Tenant, stack: DevStack
) -> None:
    before = await victim.state()
    async with a_key(stack, stranger.project_id, stranger.project_id, victim.tenant.project_id) as both:
        for operation in _in_a_project(document):
            if operation.path_parameters & ID_PARAMETERS:
                ids = {"view": victim.view["id"], "table": victim.table["id"]}
                answer = await _ask(both, operation, victim, project_id=stranger.project_id, **ids)
                assert answer.status_code == 404, f"{operation}: {answer.status_code} {answer.text}"
    assert await victim.state() == before


async def test_without_a_key_every_operation_says_the_same_whatever_exists(document: Json, victim: Victim) -> None:
    bodies = set()
    async with httpx.AsyncClient() as http:
        nobody = Tenant(0, "", http, "", Path(), "")
        base_url = str(victim.tenant.http.base_url).partition("/api/")[0]
        for operation in operations_of(document):
            if operation.needs_key:
                path = operation.path.format(
                    project_id=victim.tenant.project_id,
                    saved_query_id=victim.view["id"],
                    table_id=uuid4(),
                    **_other_ids(victim),
                )
                answer = await nobody.http.request(operation.method, base_url + path)
                assert answer.status_code == 401, str(operation)
                if operation.method != "HEAD":
                    bodies.add(answer.content)
    assert len(bodies) == 1


async def test_lists_and_counts_hold_nothing_of_another_project(victim: Victim, stranger: Tenant) -> None:
    empty: Json = {"count": 0, "next": None, "previous": None, "results": []}
    for path in (VIEWS, TABLES):
        assert await stranger.call("GET", path) == empty
        for search in ("salaries", "e", "secrets"):
            assert await stranger.call("GET", f"{path}?search={search}") == empty
    mine = await stranger.create_view("mine", "SELECT 1 AS n")
    listed = await stranger.call("GET", VIEWS)
    assert (listed["count"], [view["id"] for view in listed["results"]]) == (1, [mine["id"]])
    counted = await victim.tenant.call("GET", f"{VIEWS}{victim.view['id']}/dependencies/")
    assert counted == {"upstream_count": 1, "downstream_count": 1}


async def test_resuming_passes_over_the_schedules_of_others(victim: Victim, stranger: Tenant, stack: DevStack) -> None:
    view_id = victim.view["id"]
    handle = victim.temporal.get_schedule_handle(f"materialize/{view_id}")
    await handle.pause(note="for this test")
    before = await victim.state()
    body = {"view_ids": [view_id, victim.paused["id"], str(uuid4())]}
    assert await stranger.call("POST", VIEWS + "resume_schedules/", body) == {"resumed": []}
    async with a_key(stack, stranger.project_id) as everywhere:
        assert await everywhere.call("POST", VIEWS + "resume_schedules/", body) == {"resumed": []}
    assert await victim.state() == before
    assert await victim.tenant.call("POST", VIEWS + "resume_schedules/", body) == {"resumed": [view_id]}


@pytest.mark.parametrize("name", ["salaries", "secrets", "SALARIES", '"totals"'])
async def test_a_name_of_another_project_is_unknown_in_sql(victim: Victim, stranger: Tenant, name: str) -> None:
    body = {"name": "v", "query": {"query": f"SELECT * FROM {name}"}}
    foreign = await stranger.error("POST", VIEWS, body, status=400)
    nobodys = await stranger.error("POST", VIEWS, {**body, "query": {"query": "SELECT * FROM nobodys"}}, status=400)
    assert without(foreign, name) == without(nobodys, "nobodys")
    asked = await stranger.error("POST", "/query/", {"query": {"query": f"SELECT * FROM {name}"}}, status=400)
    nobodys = await stranger.error("POST", "/query/", {"query": {"query": "SELECT * FROM nobodys"}}, status=400)
    assert without(asked, name) == without(nobodys, "nobodys")
    mine = await stranger.create_view("mine", "SELECT 1 AS n")
    await stranger.error("PATCH", f"{VIEWS}{mine['id']}/", {"query": body["query"], "soft_update": True}, status=400)
    assert victim.view["name"] == "salaries"


def without(error: Json, name: str) -> Json:
    """An error without the name that the statement holds, and without the length of that."""
    position = {key: error["position"][key] for key in ("line", "column", "view", "excerpt_column")}
    return error | {"detail": error["detail"].replace(name.strip('"'), "x"), "position": position}


async def test_a_name_that_only_another_project_has_is_free(victim: Victim, stranger: Tenant, sources: Path) -> None:
    before = await victim.state()
    view = await stranger.create_view("salaries", "SELECT 'mine' AS mine")
    await stranger.create_view("reads_mine", "SELECT mine FROM salaries")
    await stranger.add_table("secrets", write_parquet(sources / "stranger" / "mine.parquet", m=[3]))
    other = await stranger.create_view("other", "SELECT m FROM secrets")
    assert [column["name"] for column in other["columns"]] == ["m"]
    assert view["id"] != victim.view["id"]
    renamed = await stranger.call("PATCH", f"{VIEWS}{other['id']}/", {"name": "totals"})
    assert renamed["name"] == "totals"
    await stranger.call("DELETE", f"{VIEWS}{other['id']}/", expect=204)
    assert await victim.state() == before


async def test_the_owner_of_a_key_is_shown_to_that_owner_only(victim: Victim, stranger: Tenant) -> None:
    root = str(stranger.http.base_url).partition("/api/")[0]
    key = (await stranger.http.get(f"{root}/api/personal_api_keys/@current/")).json()
    assert key["scoped_teams"] == [stranger.project_id]
    assert stranger.token not in str(key)
    theirs = await stranger.http.get(f"{root}/api/projects/{victim.tenant.project_id}/")
    assert theirs.status_code == 403
