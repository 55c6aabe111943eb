"""Where Prometheus finds the metrics of a process: on a port of their own, which users of the API do not reach."""

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
# Whatever proxy the environment names for requests to others: it would be asked for an address of its own.
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def new_registry(*, metrics: bool) -> CollectorRegistry | None:
    """A registry with the metrics of the process itself and those of Temporal's SDK; None if there are to be none.

    To be called before the first client connects, also without metrics: it has the SDK log where we do.
    """
    url = use_runtime(metrics=metrics)
    if not metrics:
        return None
    # When a counter was made is of no use here, and doubles their number.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    if url is not None:
        registry.register(SdkMetricsCollector(url))
    return registry


@asynccontextmanager
async def serve_metrics(registry: CollectorRegistry | None, host: str, port: int | None) -> AsyncIterator[None]:
    """Serve what is registered meanwhile, in a thread of its own; nothing without a registry or a port.

    A port that is taken is said in the log, and nothing else is kept from its work.
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
    """What Temporal's SDK serves at `url`, as it is at the moment."""

    def __init__(self, url: str) -> None:
        self._url = url

    def collect(self) -> Iterator[Metric]:
        """Ask it. It has none until a client has done something."""
        try:
            with _DIRECTLY.open(self._url, timeout=_SDK_SECONDS) as answer:
                text = answer.read().decode()
        except OSError as error:
            logger.warning("Temporal's SDK does not tell its metrics: %s", error)
            return
        yield from text_string_to_metric_families(text)
