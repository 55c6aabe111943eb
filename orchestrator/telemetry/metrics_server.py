"""Serves the Prometheus metrics of a process on a port of their own, which clients of the API do not reach."""

import asyncio
import logging
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, disable_created_metrics, start_http_server
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from orchestrator.telemetry.runtime import use_runtime

logger = logging.getLogger(__name__)

_SDK_SECONDS = 2.0
# Ignores a proxy that the environment names: the proxy would connect to the loopback address of its own host.
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def new_registry(*, metrics: bool) -> CollectorRegistry | None:
    """A registry with the metrics of the process itself and those of Temporal's SDK; None without `metrics`.

    Call it before the first client connects, also without metrics: it sends the SDK's log lines to Python's logging.
    """
    url = use_runtime(metrics=metrics)
    if not metrics:
        return None
    # The creation time of each counter is of no use here, and would double the number of series.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    if url is not None:
        registry.register(SdkMetricsCollector(url))
    return registry


@asynccontextmanager
async def serve_metrics(registry: CollectorRegistry | None, host: str, port: int | None) -> AsyncIterator[None]:
    """Serve the registry in a thread for as long as the context lasts; do nothing without a registry or a port.

    A port that is taken is only logged: the process works without it.
    """
    if registry is None or port is None:
        yield
        return
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        logger.warning("metrics cannot be served at %s:%s: %s", host, port, error.strerror)
        yield
        return
    logger.info("metrics at http://%s:%s/metrics", host, port)
    try:
        yield
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()


class SdkMetricsCollector(Collector):
    """The current metrics that Temporal's SDK serves at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def collect(self) -> Iterator[Metric]:
        """Read the metrics. There are none until a client has made a call."""
        try:
            with _DIRECTLY.open(self._url, timeout=_SDK_SECONDS) as answer:
                text = answer.read().decode()
        except OSError as error:
            logger.warning("Temporal's SDK does not give its metrics: %s", error)
            return
        yield from text_string_to_metric_families(text)
