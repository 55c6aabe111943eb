"""The connection to the Temporal server."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.service import RetryConfig, RPCError, RPCStatusCode

from orchestrator.model.errors import TemporalUnavailable

# How long one call may take, the SDK's own retries included: an HTTP request waits for it.
RPC_TIMEOUT = timedelta(seconds=5)

# A server that refuses connections is asked again for about a second; the SDK's own default is ten.
_RETRIES = RetryConfig(max_interval_millis=500, max_elapsed_time_millis=1500, max_retries=4)

_AWAY = {
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,  # what the SDK says when its own time-out ends a call
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.ABORTED,
}


async def connect(address: str | None, namespace: str | None, *, lazy: bool = False) -> Client:
    """A client for the server at `address`.

    Whatever is None comes from Temporal's own `TEMPORAL_*` environment variables and profile file (address, namespace,
    API key, TLS), and last from Temporal's defaults. A `lazy` client dials at its first call, so that an API can start
    before the server does.
    """
    profile = ClientConfig.load_client_connect_config()
    profile["target_host"] = address or profile.get("target_host") or "localhost:7233"
    if namespace is not None:
        profile["namespace"] = namespace
    with reaching_temporal():
        return await Client.connect(**profile, data_converter=pydantic_data_converter, retry_config=_RETRIES, lazy=lazy)


@contextmanager
def reaching_temporal() -> Iterator[None]:
    """Turn the ways in which the SDK says that it cannot reach the server into TemporalUnavailable."""
    try:
        yield
    except RPCError as error:
        if error.status in _AWAY:
            raise TemporalUnavailable from error
        raise
    except RuntimeError as error:
        # The SDK has no class of its own for a server that does not answer while it connects.
        if "connect" not in str(error).lower():
            raise
        raise TemporalUnavailable from error


def is_not_found(error: RPCError) -> bool:
    """Whether the server knows no such schedule or execution."""
    return error.status is RPCStatusCode.NOT_FOUND
