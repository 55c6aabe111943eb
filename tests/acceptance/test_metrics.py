"""The metrics and traces of real runs, on a stack that only these tests use."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.devstack.stack import DevStack
from tests.checks.test_gate import Orders, add
from tests.support.tenants import ENDLESS, Tenant, a_tenant, until
from tests.telemetry.support import ALERTS, DASHBOARD, metric_names, monitored_stack

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass(frozen=True)
class Watched:
    """A stack whose processes serve metrics, trace into a file and log JSON."""

    stack: DevStack
    api: str
    worker: str
    traces: Path

    async def scrape(self, url: str) -> dict[str, Metric]:
        async with httpx.AsyncClient(timeout=30) as http:
            answer = await http.get(url)
        assert answer.status_code == 200
        return {family.name: family for family in text_string_to_metric_families(answer.text)}

    async def value(self, url: str, sample: str, **labels: str) -> float:
        """The sum of the samples of that name that have these labels."""
        families = await self.scrape(url)
        return sum(
            one.value
            for family in families.values()
            for one in family.samples
            if one.name == sample and labels.items() <= one.labels.items()
        )

    async def rises_by(self, amount: float, url: str, sample: str, before: float, **labels: str) -> None:
        async def risen() -> bool:
            return await self.value(url, sample, **labels) - before >= amount

        await until(risen, f"{sample} {labels} to rise by {amount}")
        assert await self.value(url, sample, **labels) - before == amount

    def spans(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.traces.read_text().splitlines()] if self.traces.exists() else []


@pytest.fixture(scope="module")
async def watched(session_folder: Path, sources: Path) -> AsyncIterator[Watched]:
    traces = session_folder / "traces.jsonl"
    async with monitored_stack(session_folder / "watched", sources, traces=traces) as stack:
        urls = stack.info["metrics_urls"]
        yield Watched(stack, urls["api"], urls["worker"], traces)


@pytest.fixture
async def tenant(watched: Watched) -> AsyncIterator[Tenant]:
    async with a_tenant(watched.stack) as found:
        yield found


async def test_a_run_that_completes_is_counted_with_its_rows_and_bytes(watched: Watched, tenant: Tenant) -> None:
    labels = {"status": "Completed", "trigger": "first", "error_code": ""}
    names = ("matview_runs_total", "matview_written_rows_total", "matview_written_bytes_total")
    runs, rows, size = [
        await watched.value(watched.worker, name, **(labels if "runs" in name else {})) for name in names
    ]
    queued = await watched.value(watched.worker, "matview_run_queue_seconds_count", trigger="first")
    ended = await watched.value(watched.worker, "matview_run_duration_seconds_count", status="Completed")

    view = await tenant.materialized("v", "SELECT range AS n FROM range(7)")

    await watched.rises_by(1, watched.worker, "matview_runs_total", runs, **labels)
    await watched.rises_by(7, watched.worker, "matview_written_rows_total", rows)
    await watched.rises_by(view["size_bytes"], watched.worker, "matview_written_bytes_total", size)
    await watched.rises_by(1, watched.worker, "matview_run_queue_seconds_count", queued, trigger="first")
    await watched.rises_by(1, watched.worker, "matview_run_duration_seconds_count", ended, status="Completed")


async def test_checks_are_counted_by_type_severity_and_outcome(watched: Watched, tenant: Tenant, sources: Path) -> None:
    orders = Orders(tenant, sources)
    view = await orders.make("1,a", "1,b")
    await add(tenant, view, "unique", column_name="id", severity="warn")
    await add(tenant, view, "not_null", column_name="kind")
    (table,) = (await tenant.call("GET", "/warehouse_tables/"))["results"]
    body = {"check_type": "row_count", "config": {"min": 1}}
    await tenant.call("POST", f"/warehouse_tables/{table['id']}/checks/", body, expect=201)
    failed = {"check_type": "unique", "severity": "warn", "outcome": "failed"}
    passed = {"check_type": "not_null", "severity": "error", "outcome": "passed"}
    of_table = {"check_type": "row_count", "severity": "error", "outcome": "passed"}
    before = [await watched.value(watched.worker, "matview_checks_total", **one) for one in (failed, passed, of_table)]
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"])
    for one, number in zip((failed, passed, of_table), before, strict=True):
        await watched.rises_by(1, watched.worker, "matview_checks_total", number, **one)


async def test_a_run_that_fails_is_counted_under_the_code_of_its_error(watched: Watched, tenant: Tenant) -> None:
    rows = await watched.value(watched.worker, "matview_written_rows_total")
    view = await tenant.materialized("v", "SELECT error('no') AS n")
    labels = {"status": "Failed", "trigger": "first", "error_code": "query_failed"}
    assert (view["status"], view["latest_error"]) == ("Failed", "Invalid Input Error: no")
    await watched.rises_by(1, watched.worker, "matview_runs_total", 0, **labels)
    assert await watched.value(watched.worker, "matview_written_rows_total") == rows
    assert await watched.value(watched.worker, "matview_queries_total", outcome="query_failed") == 1


async def test_a_cancel_is_counted_and_timed_and_its_query_is_seen_to_run_until_then(
    watched: Watched, tenant: Tenant
) -> None:
    view = await tenant.create_view("v", ENDLESS)
    await tenant.act(view["id"], "materialize")
    await tenant.running(view["id"])
    assert await watched.value(watched.worker, "matview_queries_running") == 1
    assert await watched.value(watched.worker, "matview_query_memory_admitted_bytes") == 512 * 2**20

    await tenant.act(view["id"], "cancel")
    await tenant.error("POST", f"/warehouse_saved_queries/{view['id']}/cancel/", status=400)

    labels = {"status": "Cancelled", "trigger": "first", "error_code": ""}
    await watched.rises_by(1, watched.worker, "matview_runs_total", 0, **labels)
    assert await watched.value(watched.worker, "matview_queries_running") == 0
    assert await watched.value(watched.worker, "matview_query_memory_admitted_bytes") == 0
    assert await watched.value(watched.api, "matview_cancels_total", outcome="stopped") == 1
    assert await watched.value(watched.api, "matview_cancels_total", outcome="not_running") == 1
    assert await watched.value(watched.api, "matview_cancel_duration_seconds_count") == 1


async def test_the_installation_is_measured_by_the_api_alone(watched: Watched, tenant: Tenant) -> None:
    view = await tenant.materialized("kept", "SELECT 1 AS n")
    await tenant.create_view("plain", "SELECT 2 AS n")

    async def reported() -> dict[str, Metric] | None:
        found = await watched.scrape(watched.api)
        ages = found["matview_view_data_age_seconds"].samples
        return found if view["id"] in {age.labels["view"] for age in ages} else None

    found = await until(reported, "the view's age")  # once the cached figures have expired
    single = {name: family.samples[0].value for name, family in found.items() if len(family.samples) == 1}
    assert single["matview_catalog_up"] == 1
    assert single["matview_schedules_wanted"] == single["matview_schedules_present"] >= 1
    assert single["matview_views"] > single["matview_schedules_wanted"]
    assert single["matview_views_stale"] == 0
    (age,) = [one for one in found["matview_view_data_age_seconds"].samples if one.labels["view"] == view["id"]]
    assert (age.labels["project"], age.labels["name"]) == (str(tenant.project_id), "kept")
    assert 0 <= age.value <= single["matview_view_data_age_max_seconds"]
    assert not [name for name in await watched.scrape(watched.worker) if name.startswith("matview_view")]


async def test_both_processes_serve_the_metrics_of_temporals_sdk_too(watched: Watched, tenant: Tenant) -> None:
    await tenant.materialized("v", "SELECT 1 AS n")
    for url in (watched.api, watched.worker):
        assert await watched.value(url, "temporal_request_total") > 0
        assert await watched.value(url, "process_resident_memory_bytes") > 0
    assert await watched.value(watched.worker, "temporal_activity_schedule_to_start_latency_seconds_count") > 0
    assert await watched.value(watched.worker, "temporal_worker_task_slots_available") > 0


async def test_users_of_the_api_do_not_reach_the_metrics(watched: Watched, tenant: Tenant) -> None:
    async with httpx.AsyncClient(base_url=watched.stack.info["api_url"]) as http:
        headers = {"Authorization": f"Bearer {tenant.token}"}
        assert {(await http.get("/metrics", headers=headers)).status_code for _ in range(2)} == {404}


async def test_requests_are_counted_by_route_and_no_path_becomes_a_label(watched: Watched, tenant: Tenant) -> None:
    requests = "matview_http_requests_total"
    lists = "/api/projects/{project_id}/warehouse_saved_queries/"
    seen = await watched.value(watched.api, requests, route=lists, method="GET", status="200")
    unknown = await watched.value(watched.api, requests, route="none")
    await tenant.call("GET", "/warehouse_saved_queries/")
    await tenant.call("GET", "/warehouse_saved_queries")  # the same route
    await tenant.error("GET", "/no/such/thing/", status=404)
    assert await watched.value(watched.api, requests, route=lists, method="GET", status="200") - seen == 2
    assert await watched.value(watched.api, requests, route="none", status="404") - unknown == 1
    families = await watched.scrape(watched.api)
    routes = {sample.labels["route"] for sample in families["matview_http_requests"].samples}
    assert not [route for route in routes if str(tenant.project_id) in route or "such" in route]


@pytest.mark.parametrize(
    ("sent", "kept"), [("order-4711", True), ("a" * 65, False), ("with space", False), (None, False)]
)
async def test_every_answer_carries_the_id_of_its_request(tenant: Tenant, sent: str | None, kept: bool) -> None:
    headers = {} if sent is None else {"X-Request-Id": sent}
    answer = await tenant.http.get("/warehouse_saved_queries/", headers=headers)
    refused = await tenant.http.get("/warehouse_saved_queries/", headers=headers | {"Authorization": "Bearer wrong"})
    assert (answer.status_code, refused.status_code) == (200, 401)
    for one in (answer, refused):
        assert (one.headers["x-request-id"] == sent) is kept
        assert len(one.headers["x-request-id"]) == (len(sent) if kept and sent else 32)


async def test_prometheus_may_ask_for_its_newer_format(watched: Watched) -> None:
    accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
    async with httpx.AsyncClient(timeout=30) as http:
        for url in (watched.api, watched.worker):
            answer = await http.get(url, headers=accept)
            assert (answer.status_code, answer.text.endswith("# EOF\n")) == (200, True)


async def test_a_run_is_one_trace_from_the_request_to_the_query(watched: Watched, tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 'secret-of-a-tenant' AS word")
    trace = await until(lambda: _trace_of(watched, view["id"]), "the spans of a run")

    by_id = {span["context"]["span_id"]: span for span in trace}
    (query,) = [span for span in trace if span["name"] == "duckdb query"]
    path = [query["name"]]
    while (parent := by_id.get(query["parent_id"] or "")) is not None:
        path.append(parent["name"])
        query = parent
    assert path == [
        "duckdb query",
        "RunActivity:write_snapshot",
        "StartActivity:write_snapshot",
        "RunWorkflow:RefreshViews",
        "StartWorkflow:RefreshViews",
        "POST /api/projects/{project_id}/warehouse_saved_queries/{saved_query_id}/materialize/",
    ]
    assert query["parent_id"] is None
    assert [span["parent_id"] for span in trace if span["parent_id"] not in by_id] == [None], "one tree"
    steps = {span["name"] for span in trace}
    assert steps >= {f"RunActivity:{name}" for name in ("begin", "write_snapshot", "publish")}
    assert len([span for span in trace if span["name"].startswith("RunWorkflow:")]) == 1
    (query,) = [span for span in trace if span["name"] == "duckdb query"]
    (run,) = await tenant.history(view["id"])
    reported = {name: value for name, value in query["attributes"].items() if name.startswith("matview.")}
    assert reported == {
        "matview.project": tenant.project_id,
        "matview.view": view["id"],
        "matview.run": run["id"],
        "matview.rows": 1,
        "matview.bytes": run["bytes"],
    }


async def test_no_span_tells_what_a_statement_says_or_an_error_quotes(watched: Watched, tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT error('secret-of-a-tenant') AS word")
    trace = await until(lambda: _trace_of(watched, view["id"]), "the spans of a run")
    (query,) = [span for span in trace if span["name"] == "duckdb query"]
    assert query["status"]["status_code"] == "ERROR"
    assert [event["attributes"] for event in query["events"]] == [
        {"exception.type": "orchestrator.model.errors.QueryFailed"}
    ]
    assert "secret-of-a-tenant" not in watched.traces.read_text()


async def test_a_line_of_the_log_names_the_run_that_it_is_about(watched: Watched, tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT error('no') AS n")
    (run,) = await tenant.history(view["id"])
    log = watched.stack.servers.home.logs / "worker.log"
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    why, line = [line for line in lines if line.get("run") == run["id"] and line.get("activity") == "write_snapshot"]
    assert why["message"] == "v runs: The view has no result yet, or its last run did not complete."
    assert (line["project"], line["view"]) == (str(tenant.project_id), view["id"])
    assert (line["workflow"], line["attempt"]) == (run["workflow_id"], "1")
    assert line["workflow_run"] == run["workflow_run_id"]
    assert "{" not in line["message"]


async def _trace_of(watched: Watched, view_id: str) -> list[dict[str, Any]] | None:
    """Every span of the trace of a view's run, once its workflow has ended."""
    spans = await asyncio.to_thread(watched.spans)
    ids = {span["context"]["trace_id"] for span in spans if span["attributes"].get("matview.view") == view_id}
    trace = [span for span in spans if span["context"]["trace_id"] in ids]
    names = {span["name"].partition(" ")[0].partition(":")[0] for span in trace}
    return trace if names >= {"POST", "StartWorkflow", "RunWorkflow"} else None


async def test_every_metric_of_the_dashboard_and_the_alerts_is_one_that_is_served(
    watched: Watched, tenant: Tenant
) -> None:
    await tenant.materialized("v", "SELECT 1 AS n")
    served: set[str] = set()
    for url in (watched.api, watched.worker):
        for family in (await watched.scrape(url)).values():
            served |= {sample.name for sample in family.samples} | _names_of(family)
    wanted = metric_names(DASHBOARD.read_text()) | metric_names(ALERTS.read_text())
    assert len(wanted) > 30
    assert wanted - served == set()
    ours = {name for name in served if name.startswith("matview_") and not name.endswith(("_bucket", "_sum", "_count"))}
    bases = {name.removesuffix("_bucket") for name in metric_names(DASHBOARD.read_text())}
    assert {name for name in ours if name not in bases and f"{name}_total" not in bases} == set(), "all are shown"


def _names_of(family: Metric) -> set[str]:
    """The names of a family's samples, also if it has none yet."""
    suffixes = {"counter": ["_total"], "histogram": ["", "_bucket", "_sum", "_count"]}.get(family.type, [""])
    return {family.name + suffix for suffix in suffixes}
