"""The work of an operator in the Temporal UI, done with the API calls that the UI makes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, RemoveSearchAttributesRequest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, ScheduleActionStartWorkflow, WorkflowExecutionDescription, WorkflowHandle
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.model.findings import ReconcileRequest
from orchestrator.temporal import contract
from orchestrator.temporal.attribute_registration import missing_attributes, register_attributes
from tests.support.operator import Operator
from tests.support.tenants import ENDLESS, Json, Tenant, a_tenant, dev_stack, until, write_parquet


def handle_of(temporal: Client, run: Json) -> WorkflowHandle[object, object]:
    return temporal.get_workflow_handle(run["workflow_id"], run_id=run["workflow_run_id"])


async def page_of(temporal: Client, run: Json) -> str:
    """The summary, details and current details that a run's workflow gives to its page in the UI."""
    handle = handle_of(temporal, run)
    description = await handle.describe()
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return f"{await description.static_summary()}\n{await description.static_details()}\n{metadata.current_details}"


def attributes_of(description: WorkflowExecutionDescription) -> dict[str, object]:
    return {pair.key.name: pair.value for pair in description.typed_search_attributes}


async def listed(temporal: Client, query: str, count: int) -> list[str]:
    async def ask() -> list[str] | None:
        found = [execution.id async for execution in temporal.list_workflows(query)]
        return found if len(found) == count else None

    return await until(ask, f"{count} x {query}")


async def failures_of(temporal: Client, run: Json) -> list[str]:
    """Every event with a failure in the history of a run, in full."""
    history = await handle_of(temporal, run).fetch_history()
    return [str(event) for event in history.events if "failure" in str(event)]


async def test_the_page_of_a_failed_run_says_what_is_wrong_what_it_read_and_who_started_it(
    tenant: Tenant, temporal: Client, stack: DevStack, sources: Path
) -> None:
    path = sources / f"{tenant.project_id}-orders.parquet"
    write_parquet(path, a=["1", "x"])
    await tenant.add_table("orders", path)
    base = await tenant.materialized("base", "SELECT a FROM orders")
    view = await tenant.materialized("totals", "SELECT sum(a::INTEGER) AS n FROM base")
    run = await tenant.ended(view["id"])

    page = await page_of(temporal, run)

    assert "Run of totals (project" in page
    assert "developer" in page or "@" in page.split("over the API")[0]
    assert "**Failed**\n\n    Conversion Error: Could not convert string 'x' to INT32" in page
    assert f"the view `base`: its snapshot `{base['current_snapshot_id']}` (2 rows)" in page
    link = f"{stack.info['api_url']}/api/projects/{tenant.project_id}/warehouse_saved_queries/{view['id']}/"
    assert link in page
    assert f"[its schedule](/namespaces/default/schedules/materialize%2F{view['id']})" in page
    assert "    SELECT sum(a::INTEGER) AS n FROM base" in page
    answer = await tenant.http.get(link)
    assert answer.json()["name"] == "totals"


async def test_the_failure_of_a_query_is_its_message_and_no_stack_trace(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.materialized("v", "SELECT error('the number is odd') AS n")
    failures = await failures_of(temporal, await tenant.ended(view["id"]))
    assert failures
    for failure in failures:
        assert "the number is odd" in failure
        assert "stack_trace" not in failure
        assert ".py" not in failure


async def test_a_run_in_progress_says_how_far_it_is(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    run = await tenant.running(view["id"])

    async def reported() -> str | None:
        page = await page_of(temporal, run)
        return page if "MiB written" in page else None

    page = await until(reported, "a word on its progress")
    assert "**The query runs: " in page
    assert "MiB of memory" in page
    await tenant.act(view["id"], "cancel")
    assert "**Cancelled**" in await page_of(temporal, run)


async def test_signals_that_are_sent_by_hand_hold_up_no_run(tenant: Tenant, temporal: Client) -> None:
    """The server buffers ten thousand signals; so many calls of a handler take longer than a workflow task may."""
    view = await tenant.create_view("v", "SELECT sum(hash(i)) AS n FROM range(6000000000) t(i)")
    await tenant.act(view["id"], "materialize")
    run = await tenant.running(view["id"])
    handle = handle_of(temporal, run)
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    # No call is made for any other.
    assert [one.name for one in metadata.definition.signal_definitions] == [contract.STOP_MEMBER]
    arguments: list[object] = [{"percent": 1, "elapsed_seconds": 1}, "no progress", None, {"percent": "x" * 1000}]
    paced = asyncio.Semaphore(50)

    async def send(number: int) -> None:
        async with paced:
            name = ("progress", "junk", contract.STOP_MEMBER)[number % 3]
            value = ("no id", str(uuid4()))[number % 2] if name == contract.STOP_MEMBER else arguments[number % 4]
            await handle.signal(name, value)

    await asyncio.gather(*(send(number) for number in range(1000)))
    assert (await tenant.act(view["id"], "cancel"))["status"] == "Cancelled"


async def test_runs_are_found_by_view_project_status_and_trigger(tenant: Tenant, temporal: Client) -> None:
    good = await tenant.materialized("good", "SELECT 1 AS n")
    bad = await tenant.materialized("bad", "SELECT error('no') AS n")
    await Operator(temporal).tick(good["id"])
    await tenant.ended(good["id"], 2)

    mine = f"MatviewProject = '{tenant.project_id}' AND WorkflowType = '{contract.REFRESH}'"
    assert await listed(temporal, f"{mine} AND MatviewStatus = 'Failed'", 1) == [f"materialize/{bad['id']}"]
    assert len(await listed(temporal, f"{mine} AND MatviewView = 'good'", 2)) == 2
    assert len(await listed(temporal, f"{mine} AND MatviewTrigger = 'schedule'", 1)) == 1
    assert len(await listed(temporal, f"{mine} AND MatviewStatus = 'Completed' AND MatviewTrigger = 'first'", 1)) == 1
    run = handle_of(temporal, await tenant.ended(good["id"], 2))
    assert (await run.describe()).raw_description.workflow_execution_info.priority.fairness_key == str(
        tenant.project_id
    )
    schedules = [entry.id async for entry in await temporal.list_schedules(f"MatviewProject = '{tenant.project_id}'")]
    assert sorted(schedules) == sorted([f"materialize/{good['id']}", f"materialize/{bad['id']}"])


async def test_a_scheduled_run_and_its_tick_carry_the_name_of_the_view(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.materialized("before", "SELECT 1 AS n")
    operator = Operator(temporal)
    await operator.schedule(view["id"]).pause(note="not yet")
    await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/", {"name": "after", "edited_history_id": None})
    await operator.tick(view["id"])
    run = await tenant.ended(view["id"], 2)

    ticks = f"TemporalScheduledById = 'materialize/{view['id']}' AND WorkflowType = '{contract.SCHEDULED_TICK}'"
    (tick,) = await listed(temporal, ticks, 1)
    assert tick.startswith(f"tick/project-{tenant.project_id}/after/{view['id']}-")
    page = await page_of(temporal, run)
    assert f"Run of after (project {tenant.project_id})" in page
    assert f"in the tick `{tick}`" in page
    assert "Started by its schedule, due 20" in page
    attributes = attributes_of(await handle_of(temporal, run).describe())
    assert attributes["MatviewView"] == "after"
    assert (await operator.schedule(view["id"]).describe()).schedule.state.note == "not yet"


async def test_a_run_that_an_operator_cancels_reads_as_cancelled(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    await handle_of(temporal, await tenant.running(view["id"])).cancel()
    run = await tenant.ended(view["id"])
    assert (run["status"], run["snapshot_id"]) == ("Cancelled", None)
    await until_closed(temporal, run["workflow_id"], run["workflow_run_id"])
    attributes = attributes_of(await handle_of(temporal, run).describe())
    assert attributes["MatviewStatus"] == "Cancelled"


async def reset(temporal: Client, run: Json, event: int) -> str:
    """Reset a run as the UI does. Returns the run id of the new execution, which goes on after `event` of the old."""
    answer = await temporal.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=temporal.namespace,
            workflow_execution=WorkflowExecution(workflow_id=run["workflow_id"], run_id=run["workflow_run_id"]),
            reason="an operator tries again",
            workflow_task_finish_event_id=event,
            request_id=str(uuid4()),
        )
    )
    return answer.run_id


async def workflow_tasks(temporal: Client, run: Json) -> list[int]:
    history = await handle_of(temporal, run).fetch_history()
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    return [event.event_id for event in history.events if event.event_type == completed]


@pytest.mark.parametrize("place", [0, -1], ids=["to its beginning", "to its end"])
@pytest.mark.parametrize("sql", ["SELECT now() AS n", "SELECT error('no') AS n"], ids=["completed", "failed"])
async def test_a_run_that_an_operator_resets_leaves_history_true(
    tenant: Tenant, temporal: Client, sql: str, place: int
) -> None:
    view = await tenant.materialized("v", sql)
    before = await tenant.ended(view["id"])
    anew = await reset(temporal, before, (await workflow_tasks(temporal, before))[place])
    await until_closed(temporal, before["workflow_id"], anew)

    history = await tenant.history(view["id"])
    shown = await tenant.view(view["id"])
    assert before in history
    assert all(run["status"] != "Running" for run in history)
    assert shown["current_snapshot_id"] in {run["snapshot_id"] for run in history}
    again = [run for run in history if run["workflow_run_id"] == anew]
    if place == 0:
        assert [run["status"] for run in again] == [before["status"]]
    # The reset does not block the next run.
    await tenant.act(view["id"], "run")
    assert (await tenant.ended(view["id"], len(history) + 1))["status"] == before["status"]


async def until_closed(temporal: Client, workflow_id: str, run_id: str) -> None:
    async def closed() -> bool:
        description = await temporal.get_workflow_handle(workflow_id, run_id=run_id).describe()
        return description.close_time is not None

    await until(closed, "the end of the reset run")


async def test_an_authors_text_is_never_read_as_markdown(tenant: Tenant, temporal: Client) -> None:
    view = await tenant.materialized("v", "SELECT error('# Free\n\n[click](http://evil)') AS n")
    page = await page_of(temporal, await tenant.ended(view["id"]))
    assert "click" in page
    assert all(line.startswith("    ") for line in page.splitlines() if "click" in line or "# Free" in line)


async def test_a_schedule_that_kept_an_old_name_is_given_the_new_one_by_the_reconciler(
    tenant: Tenant, temporal: Client
) -> None:
    view = await tenant.materialized("before", "SELECT 1 AS n")
    handle = Operator(temporal).schedule(view["id"])
    described = await handle.describe()
    database = Database(tenant.database_url, pool_size=1)
    async with database.begin() as tx:  # as if Temporal had been away when it was renamed
        await tx.execute(text("UPDATE saved_queries SET name = 'after' WHERE id = :id"), {"id": view["id"]})
        # In both tables, as a rename does: every later reconciler would find half of one.
        await tx.execute(text("UPDATE names SET key = 'after' WHERE saved_query_id = :id"), {"id": view["id"]})
    await database.close()
    assert described.schedule.state.note is not None
    assert '"before"' in described.schedule.state.note

    await temporal.execute_workflow(
        contract.RECONCILE, ReconcileRequest(), id=f"reconcile-{uuid4()}", task_queue=contract.TASK_QUEUE
    )

    described = await handle.describe()
    assert described.schedule.state.note is not None
    assert '"after"' in described.schedule.state.note
    action = described.schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    assert action.id.startswith(f"tick/project-{tenant.project_id}/after/")
    assert described.typed_search_attributes[SearchAttributeKey.for_keyword("MatviewView")] == "after"


async def knows_attributes(temporal: Client) -> bool:
    """Whether the server accepts the program's search attributes now; it notices a change within a minute."""
    try:
        return [e async for e in temporal.list_workflows("MatviewView = 'x'")] == []
    except RPCError:
        return False


@pytest.fixture(scope="module")
async def bare_stack(session_folder: Path) -> AsyncIterator[DevStack]:
    async with dev_stack(session_folder / "bare") as running:
        yield running


@pytest.fixture
async def bare(bare_stack: DevStack) -> DevStack:
    """A stack whose namespace lacks the program's search attributes, as one where it may not register any."""
    temporal = await Client.connect(bare_stack.info["temporal_address"])
    missing = await missing_attributes(temporal)
    present = [name for name in contract.SEARCH_ATTRIBUTES if name not in missing]
    await temporal.operator_service.remove_search_attributes(
        RemoveSearchAttributesRequest(namespace=temporal.namespace, search_attributes=present)
    )

    async def forgotten() -> bool:
        return not await knows_attributes(temporal)

    await until(forgotten, "the server to forget the attributes", patience=150)
    return bare_stack


@pytest.mark.timeout(400)
async def test_with_only_some_of_the_attributes_schedules_still_start_runs(bare: DevStack) -> None:
    temporal = await Client.connect(bare.info["temporal_address"])
    some = dict.fromkeys(contract.SEARCH_ATTRIBUTES[:2], IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
    await temporal.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=temporal.namespace, search_attributes=some)
    )

    async def known() -> bool:
        return await knows_attributes(temporal)

    await until(known, "the server to know the attributes", patience=150)
    async with a_tenant(bare) as tenant:
        view = await tenant.materialized("v", "SELECT now() AS n")
        await Operator(temporal).tick(view["id"])
        run = await tenant.ended(view["id"], 2)
        assert (run["status"], run["trigger"]) == ("Completed", "schedule")


@pytest.mark.timeout(400)
async def test_without_search_attributes_everything_works_and_they_can_be_registered_later(bare: DevStack) -> None:
    temporal = await Client.connect(bare.info["temporal_address"])
    async with a_tenant(bare) as tenant:
        assert await missing_attributes(temporal) == list(contract.SEARCH_ATTRIBUTES)
        view = await tenant.materialized("v", "SELECT 1 AS n")
        assert view["status"] == "Completed"
        await Operator(temporal).tick(view["id"])
        assert (await tenant.ended(view["id"], 2))["trigger"] == "schedule"
    assert await register_attributes(temporal) == []
    assert await missing_attributes(temporal) == []
