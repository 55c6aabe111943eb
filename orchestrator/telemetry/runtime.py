"""Configures Temporal's SDK: its log lines go to Python's logging, its metrics to a port that this program reads."""

import functools
import logging
import socket

from temporalio import activity, workflow
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

logger = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
_TRIES = 5


@functools.cache
def use_runtime(*, metrics: bool) -> str | None:
    """Make one runtime the default of every client in this process; call it before the first one connects.

    Returns the URL at which the SDK serves its own metrics, on a free port of the loopback interface, or None if it
    serves none.
    """
    # Each line carries the ids as fields; the SDK would also append them to the message as a dictionary.
    activity.logger.activity_info_on_message = False
    workflow.logger.workflow_info_on_message = False
    for _ in range(_TRIES if metrics else 0):
        address = f"{_LOOPBACK}:{_free_port()}"
        try:
            _use(PrometheusConfig(address, counters_total_suffix=True, unit_suffix=True, durations_as_seconds=True))
        except ValueError as error:  # another process took the port in between
            logger.debug("Temporal's SDK cannot serve its metrics at %s: %s", address, error)
        else:
            return f"http://{address}/metrics"
    _use(None)
    return None


def _use(metrics: PrometheusConfig | None) -> None:
    forwarding = LogForwardingConfig(logging.getLogger("temporalio"), prepend_target_on_message=False)
    level = TelemetryFilter(core_level="WARN", other_level="ERROR")
    telemetry = TelemetryConfig(logging=LoggingConfig(level, forwarding=forwarding), metrics=metrics)
    Runtime.set_default(Runtime(telemetry=telemetry), error_if_already_set=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
