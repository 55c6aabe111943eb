"""Traces from the HTTP request to the query. Unless they are configured, they are off and nothing is loaded for them.

OpenTelemetry's own variables configure them (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_EXPORTER` and the like), or a
file that spans are appended to.
"""

import importlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # a worker has no use for FastAPI, which takes memory
    from contextlib import AbstractContextManager

    from fastapi import FastAPI
    from temporalio.plugin import SimplePlugin

logger = logging.getLogger(__name__)

Attributes = Mapping[str, str | int]
Note = Callable[[Attributes], None]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Tracing(Protocol):
    """The tracing of a process, which `otel.py` implements."""

    def plugins(self) -> "Sequence[SimplePlugin]":
        """The plugins with which a Temporal client traces its workflows and activities."""

    def watch(self, app: "FastAPI") -> None:
        """Begin a trace with every request to `app`."""

    def span(self, name: str, attributes: Attributes) -> "AbstractContextManager[Note]":
        """A span for as long as the context lasts."""


_tracing: Tracing | None = None


def set_up_tracing(service: str, file: Path | None) -> None:
    """Start tracing as the environment says, and into `file` if one is given; without either, do nothing.

    `service` is the name of the process in traces, unless the environment names it. Call this before any client
    connects to Temporal.
    """
    global _tracing  # noqa: PLW0603 - a process traces or does not, as with OpenTelemetry's own provider
    if _tracing is not None or not (file is not None or _exporter_is_wanted()):
        return
    try:
        # Imported only here: its imports take memory, which a process without tracing should not need.
        loaded = importlib.import_module("orchestrator.telemetry.otel")
    except ImportError as error:
        logger.warning("no traces: %s is missing, which the extra 'traces' of this program brings", error.name)
        return
    _tracing = loaded.start(service, file, exports=_exporter_is_wanted())


def plugins() -> "Sequence[SimplePlugin]":
    """The plugins with which a Temporal client traces its workflows and activities; empty without tracing."""
    return () if _tracing is None else _tracing.plugins()


def watch(app: "FastAPI") -> None:
    """Begin a trace with every request to `app`; without tracing, do nothing."""
    if _tracing is not None:
        _tracing.watch(app)


@contextmanager
def span(name: str, attributes: Attributes) -> Iterator[Note]:
    """A span for as long as the context lasts; yields a function that adds attributes. No effect without tracing."""
    if _tracing is None:
        yield lambda _: None
        return
    with _tracing.span(name, attributes) as note:
        yield note


def _exporter_is_wanted() -> bool:
    """Whether OpenTelemetry's own variables configure an exporter."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter:
        return exporter != "none"
    return any(os.environ.get(name) for name in _ENDPOINTS)
