"""The connection to the Temporal server."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from temporalio.client import Client, Plugin
from temporalio.envconfig import ClientConfig
from temporalio.service import RetryConfig, RPCError, RPCStatusCode

from orchestrator.model.errors import TemporalBusy, TemporalUnavailable
from orchestrator.temporal.failure_converter import CONVERTER

# How long one call may take, the SDK's own retries included. An HTTP request waits for it.
RPC_TIMEOUT = timedelta(seconds=10)

# A client waits for the API's answer, so a refused connection is retried for about a second and not for the SDK's
# default of ten. Workers keep that default: no client waits for them, and they have work to lose.
_RETRIES = RetryConfig(max_interval_millis=500, max_elapsed_time_millis=1500, max_retries=4)


async def connect(
    address: str | None, namespace: str | None, *, lazy: bool = False, plugins: Sequence[Plugin] = ()
) -> Client:
    """A client for the server at `address`.

    An argument that is None is read from Temporal's `TEMPORAL_*` environment variables and profile file, which also
    give the API key and TLS; failing that, Temporal's default holds. A `lazy` client connects at its first call, so
    that an API can start before the server does. Workers of the client use its `plugins` too.
    """
    profile = ClientConfig.load_client_connect_config()
    profile["target_host"] = address or profile.get("target_host") or "localhost:7233"
    if namespace is not None:
        profile["namespace"] = namespace
    with translate_rpc_errors():
        return await Client.connect(
            **profile, data_converter=CONVERTER, retry_config=_RETRIES, lazy=lazy, plugins=plugins
        )


@contextmanager
def translate_rpc_errors() -> Iterator[None]:
    """Turn every error of a server that cannot serve into TemporalUnavailable, or TemporalBusy if it is overloaded.

    The errors that are left are answers: that a schedule or execution does not exist or exists already, or that an
    argument is invalid, such as an unregistered search attribute.
    """
    try:
        yield
    except RPCError as error:
        if _is_domain_error(error):
            raise
        raise _trouble(error) from error
    except RuntimeError as error:
        # The SDK has no class of its own for a server that does not answer while it connects.
        if "connect" not in str(error).lower():
            raise
        raise TemporalUnavailable from error


def is_not_found(error: RPCError) -> bool:
    """Whether the server knows no such schedule or execution. Only for errors that `translate_rpc_errors` let pass."""
    return error.status is RPCStatusCode.NOT_FOUND or _was_deleted_before_first_action(error)


def _is_domain_error(error: RPCError) -> bool:
    if error.status is RPCStatusCode.NOT_FOUND:
        # A missing namespace is a wrong setting. It does not mean that the schedule or execution is gone.
        return not _names_namespace(error)
    return error.status in {
        RPCStatusCode.ALREADY_EXISTS,
        RPCStatusCode.INVALID_ARGUMENT,
    } or _was_deleted_before_first_action(error)


def _was_deleted_before_first_action(error: RPCError) -> bool:
    """Whether the error is about a schedule that was deleted before the server had done anything with it.

    The server implements a schedule as a workflow, and only this error shows it.
    """
    return error.message.startswith("Workflow execution closed before")


def _names_namespace(error: RPCError) -> bool:
    return any("NamespaceNotFound" in detail.type_url for detail in error.grpc_status.details)


def _trouble(error: RPCError) -> TemporalUnavailable:
    """TemporalBusy for an overloaded server: TemporalUnavailable would send an operator after the wrong fault."""
    if error.status is RPCStatusCode.RESOURCE_EXHAUSTED:
        return TemporalBusy()
    return TemporalUnavailable(_why(error))


def _why(error: RPCError) -> str | None:
    """The cause, where it is known, for the operator to act on."""
    if error.status is RPCStatusCode.DEADLINE_EXCEEDED:
        return "Temporal did not answer in time. Try again in a moment."
    if error.status is RPCStatusCode.NOT_FOUND:
        return "Temporal does not have the configured namespace."
    if error.status in {RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED}:
        return "Temporal refuses the configured credentials."
    return None
