"""A request that fails with an unforeseen error, in an application of its own."""

import json
import logging

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from api.errors import add_error_handlers
from api.metrics import ApiMetrics, TelemetryMiddleware
from orchestrator.telemetry.logs import JsonFormatter, make_redactor

ROUTE = "/api/projects/{project_id}/warehouse_saved_queries/{saved_query_id}/"


async def test_an_unforeseen_error_is_logged_with_the_id_and_the_subject_of_its_request_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry, app, lines = CollectorRegistry(), FastAPI(), []
    view = "12345678-1234-5678-1234-567812345678"
    path = ROUTE.format(project_id=7, saved_query_id=view)

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(self.format(record)))

    @app.get(ROUTE)
    async def fail() -> None:
        raise RuntimeError("unforeseen")

    add_error_handlers(app)
    app.add_middleware(TelemetryMiddleware, metrics=ApiMetrics(registry))
    handler = Lines()
    handler.setFormatter(JsonFormatter(make_redactor([])))
    logging.getLogger("api.errors").addHandler(handler)
    try:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            answer = await http.get(path, headers={"X-Request-Id": "mine"})
    finally:
        logging.getLogger("api.errors").removeHandler(handler)

    assert answer.status_code == 500
    (line,) = lines
    assert (line["request"], line["project"], line["view"]) == ("mine", "7", view)
    assert "RuntimeError: unforeseen" in line["exception"]
    labels = {"method": "GET", "route": ROUTE}
    assert registry.get_sample_value("matview_http_requests_total", labels | {"status": "500"}) == 1
    assert "unforeseen error in GET" in caplog.text


async def test_a_method_that_somebody_made_up_becomes_no_label() -> None:
    registry, app = CollectorRegistry(), FastAPI()
    app.add_middleware(TelemetryMiddleware, metrics=ApiMetrics(registry))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        for method in ("BREW", "get", "HEAD"):
            await http.send(httpx.Request(method, "http://test/nowhere"))
    counted = {
        sample.labels["method"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "matview_http_requests_total"
    }
    assert counted == {"other": 1, "GET": 1, "HEAD": 1}
