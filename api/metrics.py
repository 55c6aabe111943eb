"""Metrics of requests, and the id that a request has in the log.

The metrics are served on a separate port, since they are for operators and not for clients of the API.
"""

import re
import time
from uuid import uuid4

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.protocol import ENDLESS
from orchestrator.telemetry.log_context import bind_log_fields

_REQUEST_ID = "x-request-id"
# The id that a client sends is written to the log, so it must be short and not pass for other log text.
_ACCEPTABLE_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_SUBJECT = re.compile(
    r"/api/(?:projects|environments)/(?P<project>\d{1,10})(?:/warehouse_saved_queries/(?P<view>[0-9a-fA-F-]{36}))?(?:/|$)"
)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_CANCEL = "/warehouse_saved_queries/{saved_query_id}/cancel/"
_CANCEL_OUTCOMES = {200: "stopped", 400: "not_running", 503: "not_yet"}
# The label for requests without a route. With their paths as labels, clients could create any number of series.
_NO_ROUTE = "none"
# Other methods have one label for the same reason: a client may invent them.
_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
_OTHER_METHOD = "other"


class ApiMetrics:
    """The instruments of the API, registered in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "matview_http_requests_total", "Requests, by their answer", ["method", "route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "matview_http_request_duration_seconds",
            "From a request to the end of its answer",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.cancels = Counter(
            "matview_cancels_total",
            "Cancels: stopped; not_running, as there was nothing to stop; not_yet, as it could not be said in time",
            ["outcome"],
            registry=registry,
        )
        self.cancel_seconds = Histogram(
            "matview_cancel_duration_seconds",
            "From the request until the query had actually stopped",
            buckets=_SECONDS,
            registry=registry,
        )
        for outcome in _CANCEL_OUTCOMES.values():
            self.cancels.labels(outcome)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request, and record its duration."""
        method = method if method in _METHODS else _OTHER_METHOD
        self.requests.labels(method, route, str(status)).inc()
        self.request_seconds.labels(method, route).observe(seconds)
        if route.endswith(_CANCEL) and status in _CANCEL_OUTCOMES:
            outcome = _CANCEL_OUTCOMES[status]
            self.cancels.labels(outcome).inc()
            if outcome == "stopped":
                self.cancel_seconds.observe(seconds)


class TelemetryMiddleware:
    """Gives every request an id, for its answer and its log lines, and counts it if `metrics` is given.

    A client may send an id of its own as `X-Request-Id`. PathMiddleware, which changes the path of a request, must run
    outside of this one, so that this one sees the route that was found.
    """

    def __init__(self, app: ASGIApp, metrics: ApiMetrics | None) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, request_id = time.perf_counter(), 500, _id_of(scope)

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (_REQUEST_ID.encode(), request_id.encode())]}
            await send(message)

        bind_log_fields({"request": request_id, **_subject(scope["path"])})
        try:
            await self._app(scope, receive, marked)
        finally:
            # How long an endless answer lasts says nothing of the speed of the API.
            if self._metrics is not None and ENDLESS not in scope.get("extensions", {}):
                self._metrics.answered(scope["method"], _route(scope), status, time.perf_counter() - began)


def _id_of(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == _REQUEST_ID.encode():
            sent = value.decode("latin-1")
            if _ACCEPTABLE_ID.fullmatch(sent):
                return str(sent)
    return uuid4().hex


def _subject(path: str) -> dict[str, str]:
    found = _SUBJECT.match(path)
    return {} if found is None else {name: value for name, value in found.groupdict().items() if value}


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", _NO_ROUTE))
