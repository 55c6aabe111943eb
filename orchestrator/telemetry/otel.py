"""Traces by OpenTelemetry. `tracing.py` imports this module, and only if traces are configured."""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.trace.status import Status
from temporalio.contrib.opentelemetry import OpenTelemetryPlugin, create_tracer_provider

from orchestrator.telemetry.tracing import Attributes, Note
from orchestrator.temporal import contract

logger = logging.getLogger(__name__)

# A person who reads the file waits for a run to appear in it; a collector gets larger batches.
_FILE_DELAY_MS = 500
# Supervisors request these every few seconds.
_NOT_TRACED = "livez,readyz"
# A running query reports its progress every few seconds for hours; such a report is no step of a run.
_TOO_MANY = {f"{kind}:{contract.PROGRESS}" for kind in ("StartWorkflowUpdate", "ValidateUpdate", "HandleUpdate")}
_EXCEPTION_TYPE = "exception.type"


def start(service: str, file: Path | None, *, exports: bool) -> "OpenTelemetryTracing":
    """Set the process's tracer provider, one whose spans are not repeated when a workflow is replayed."""
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: service}
    provider = create_tracer_provider(resource=Resource.create(named))
    if file is not None:
        provider.add_span_processor(BatchSpanProcessor(FileExporter(file), schedule_delay_millis=_FILE_DELAY_MS))
    if exports:
        console = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "console"
        exporter = ConsoleSpanExporter() if console else OTLPSpanExporter()
        provider.add_span_processor(BatchSpanProcessor(RedactingExporter(exporter)))
    trace.set_tracer_provider(provider)
    return OpenTelemetryTracing()


class OpenTelemetryTracing:
    """See Tracing."""

    def plugins(self) -> Sequence[OpenTelemetryPlugin]:
        """See Tracing. Its spans last as long as the steps that they represent, unlike those of the SDK's older one."""
        return [OpenTelemetryPlugin(add_temporal_spans=True)]

    def watch(self, app: FastAPI) -> None:
        """See Tracing."""
        FastAPIInstrumentor.instrument_app(app, excluded_urls=_NOT_TRACED, exclude_spans=["receive", "send"])

    @contextmanager
    def span(self, name: str, attributes: Attributes) -> Iterator[Note]:
        """See Tracing."""
        with trace.get_tracer(__name__).start_as_current_span(name, attributes=attributes) as current:
            yield current.set_attributes


class RedactingExporter(SpanExporter):
    """Passes spans on without the texts of errors, which quote the statement that failed, and so perhaps data."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See SpanExporter."""
        return self._exporter.export(_redact(spans))

    def shutdown(self) -> None:
        """See SpanExporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See SpanExporter."""
        return self._exporter.force_flush(timeout_millis)


class FileExporter(SpanExporter):
    """Appends each span to a file as a line of JSON. Several processes may write to the same file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append in one write, so that the lines of several processes do not mix."""
        lines = "".join(f"{span.to_json(indent=None)}\n" for span in _redact(spans))
        try:
            with self._lock, self._path.open("ab", buffering=0) as file:
                file.write(lines.encode())
        except OSError as error:
            logger.warning("spans cannot be written to %s: %s", self._path, error.strerror)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS


def _redact(spans: Sequence[ReadableSpan]) -> list[ReadableSpan]:
    return [_without_texts(span) for span in spans if span.name not in _TOO_MANY]


def _without_texts(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=[_type_only(event) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _type_only(event: Event) -> Event:
    kind = (event.attributes or {}).get(_EXCEPTION_TYPE)
    return Event(event.name, {} if kind is None else {_EXCEPTION_TYPE: kind}, event.timestamp)
