"""The FastAPI application: its routes, error handlers, middleware and services."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from api import (
    annotations,
    checks,
    conditions,
    data,
    definitions,
    diffs,
    generations,
    health,
    iceberg,
    identity,
    lineage,
    queries,
    saved_queries,
    snapshots,
    source_tables,
    tries,
    unit_tests,
)
from api.auth import AuthenticationMiddleware
from api.bodies import BodyMiddleware
from api.console import sign_in as console_links
from api.console.app import add_console
from api.errors import ErrorBody, FailureMiddleware, add_error_handlers
from api.metrics import ApiMetrics, TelemetryMiddleware
from api.path_middleware import PathMiddleware
from api.project_shares import Shares
from orchestrator.container import Container, open_container
from orchestrator.settings import load_settings
from orchestrator.telemetry import tracing
from orchestrator.telemetry.installation import InstallationCollector, make_probe
from orchestrator.telemetry.logs import set_up_logging
from orchestrator.telemetry.metrics_server import new_registry, serve_metrics

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The request is not valid"},
    401: {"model": ErrorBody, "description": "No key, or an unknown one"},
    403: {"model": ErrorBody, "description": "The key lacks the scope, or may not be used in the project"},
    431: {"model": ErrorBody, "description": "The request's line and headers are too large"},
    413: {"model": ErrorBody, "description": "The body of the request is too large"},
    429: {
        "model": ErrorBody,
        "description": "The key or its project has too many requests in progress; nothing was done",
    },
    404: {"model": ErrorBody, "description": "There is no such thing in this project"},
    503: {"model": ErrorBody, "description": "PostgreSQL or Temporal is out of reach; nothing was done"},
}


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, without the answer 422 that FastAPI adds everywhere and this API never gives."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        app.openapi_schema = document
    return app.openapi_schema


def create_app() -> FastAPI:
    """The API, configured by the environment. Raises SettingsError."""
    settings = load_settings()
    set_up_logging(settings.log_level, settings.log_format, settings.secrets)
    tracing.set_up_tracing("matview-api", settings.traces_file)
    registry = new_registry(metrics=settings.metrics_port is not None)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_container(settings, lazy=True) as container:
            await container.engine.start()
            await container.analyzer.start()
            await container.reader.start()
            _attach_services(container, app)
            app.state.public_url = settings.public_url
            if registry is not None:
                ask = make_probe(container.database, container.temporal, settings.metrics_views)
                registry.register(InstallationCollector(ask))
            async with serve_metrics(registry, settings.metrics_host, settings.metrics_port):
                # All objects loaded so far stay until the end. Searching them for garbage would delay one request in
                # fifty by a tenth of a second.
                gc.freeze()
                gc.enable()
                yield

    app = FastAPI(
        title="Matview",
        version=version("matview"),
        summary="SQL views, materialized on a schedule",
        lifespan=lifespan,
        openapi_url="/api/schema/",
        # Those of FastAPI load their scripts from another host; see api/console/documents.py.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.include_router(definitions.router, responses=_ERRORS)
    app.include_router(unit_tests.router, responses=_ERRORS)
    app.include_router(saved_queries.router, responses=_ERRORS)
    app.include_router(checks.router, responses=_ERRORS)
    app.include_router(checks.tables, responses=_ERRORS)
    app.include_router(annotations.views, responses=_ERRORS)
    app.include_router(annotations.tables, responses=_ERRORS)
    app.include_router(conditions.router, responses=_ERRORS)
    app.include_router(data.router, responses=_ERRORS)
    app.include_router(queries.router, responses=_ERRORS)
    app.include_router(generations.router, responses=_ERRORS)
    app.include_router(lineage.router, responses=_ERRORS)
    app.include_router(snapshots.router, responses=_ERRORS)
    app.include_router(diffs.router, responses=_ERRORS)
    app.include_router(tries.router, responses=_ERRORS)
    app.include_router(source_tables.router, responses=_ERRORS)
    # Its document is Apache Iceberg's, and its errors have another shape.
    app.include_router(iceberg.router, include_in_schema=False)
    app.include_router(identity.router, responses=_ERRORS)
    app.include_router(console_links.links, responses=_ERRORS)
    app.include_router(health.router)
    add_console(app)
    add_error_handlers(app)
    app.openapi = partial(_document, app)  # type: ignore[method-assign] # FastAPI's own way to change the document
    app.add_middleware(AuthenticationMiddleware)
    app.add_middleware(BodyMiddleware)
    app.add_middleware(FailureMiddleware)
    app.add_middleware(iceberg.IcebergErrorMiddleware)
    app.add_middleware(TelemetryMiddleware, metrics=None if registry is None else ApiMetrics(registry))
    app.add_middleware(PathMiddleware)
    tracing.watch(app)
    return app


def _attach_services(container: Container, app: FastAPI) -> None:
    """Make the services available to the routes."""
    app.state.services = container.services
    app.state.shares = Shares(at_once=container.settings.api_concurrent_requests)
