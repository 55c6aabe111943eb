"""Traces, from the request to the query: off unless they are asked for, and loaded only then.

They are asked for by OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_EXPORTER` and the like)
or by a file that spans are appended to.
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
    """What traces, once it is loaded."""

    def plugins(self) -> "Sequence[SimplePlugin]":
        """What a client of Temporal needs so that its workflows and activities are traced."""

    def watch(self, app: "FastAPI") -> None:
        """Begin a trace with every request to `app`."""

    def span(self, name: str, attributes: Attributes) -> "AbstractContextManager[Note]":
        """A span for as long as the context lasts."""


_tracing: Tracing | None = None


def set_up_tracing(service: str, file: Path | None) -> None:
    """Trace from now on, as the environment says, and into `file` if one is given; nothing if neither asks for it.

    `service` is what the process is called in traces, unless the environment names it. To be called before anything
    connects to Temporal.
    """
    global _tracing  # noqa: PLW0603 - a process traces or does not, as with OpenTelemetry's own provider
    if _tracing is not None or not (file is not None or _exporter_is_wanted()):
        return
    try:
        # By name: what it imports takes memory that nobody should pay for who does not trace.
        loaded = importlib.import_module("orchestrator.telemetry.otel")
    except ImportError as error:
        logger.warning("no traces: %s is missing, which the extra 'traces' of this program brings", error.name)
        return
    _tracing = loaded.start(service, file, exports=_exporter_is_wanted())


def plugins() -> "Sequence[SimplePlugin]":
    """What a client of Temporal needs so that its workflows and activities are traced; nothing if none are."""
    return () if _tracing is None else _tracing.plugins()


def watch(app: "FastAPI") -> None:
    """Begin a trace with every request to `app`, if anything is traced."""
    if _tracing is not None:
        _tracing.watch(app)


@contextmanager
def span(name: str, attributes: Attributes) -> Iterator[Note]:
    """A span for as long as the context lasts; it yields what adds attributes to it. Nothing if nothing is traced."""
    if _tracing is None:
        yield lambda _: None
        return
    with _tracing.span(name, attributes) as note:
        yield note


def _exporter_is_wanted() -> bool:
    """Whether OpenTelemetry's own variables ask for traces."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter:
        return exporter != "none"
    return any(os.environ.get(name) for name in _ENDPOINTS)
