"""Diagnostics of the Temporal server: its version, its namespace and its pollers, for an operator."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import TaskQueueType, WorkerStatus
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    GetSystemInfoRequest,
    ListWorkersRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from orchestrator.model.base import Value
from orchestrator.temporal import contract
from orchestrator.temporal.attribute_registration import missing_attributes
from orchestrator.temporal.client import RPC_TIMEOUT, is_not_found, translate_rpc_errors

_TYPES = {"workflow": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, "activity": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY}
_GONE = (WorkerStatus.WORKER_STATUS_SHUTTING_DOWN, WorkerStatus.WORKER_STATUS_SHUTDOWN)
_NEVER = datetime.min.replace(tzinfo=UTC)
# The errors of a server that is too old for a call, or that is configured to refuse it.
_NOT_OFFERED = (RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED)


class Namespace(Value):
    """A namespace. `pushes_commands` says whether the server reports that it pushes cancels to workers at once."""

    name: str
    retention: timedelta
    pushes_commands: bool


class Poller(Value):
    """A process that polled a task queue, and the time of its last poll by the server's clock.

    The server lists a poller for five minutes, also after its process has ended. `stopped` says that it reported its
    shutdown.
    """

    identity: str
    last_access: datetime
    stopped: bool


class ReconcilerSchedule(Value):
    """The state of the reconciler's own schedule. While it is paused, `note` gives the reason."""

    paused: bool
    note: str | None
    last_run_at: datetime | None


class ServerInfo:
    """A Temporal server, as seen from one of its namespaces."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def address(self) -> str:
        """The host and port of the connection."""
        return self._client.service_client.config.target_host

    @property
    def namespace_name(self) -> str:
        """The namespace that every call names."""
        return self._client.namespace

    async def version(self) -> str:
        """The server's release. Raises TemporalUnavailable."""
        with translate_rpc_errors():
            response = await self._client.workflow_service.get_system_info(GetSystemInfoRequest(), timeout=RPC_TIMEOUT)
        return response.server_version

    async def namespace(self) -> Namespace:
        """The namespace. Raises TemporalUnavailable, also if the server does not have it."""
        request = DescribeNamespaceRequest(namespace=self._client.namespace)
        with translate_rpc_errors():
            response = await self._client.workflow_service.describe_namespace(request, timeout=RPC_TIMEOUT)
        return Namespace(
            name=response.namespace_info.name,
            retention=response.config.workflow_execution_retention_ttl.ToTimedelta(),
            pushes_commands=response.namespace_info.capabilities.worker_commands,
        )

    async def missing_attributes(self) -> list[str]:
        """The required search attributes that it lacks or has as another type. Raises TemporalUnavailable."""
        return await missing_attributes(self._client)

    async def pollers(self, queue: str, kind: str) -> list[Poller]:
        """The pollers of a queue's `workflow` or `activity` tasks, latest poll first. Raises TemporalUnavailable."""
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=_TYPES[kind]
        )
        with translate_rpc_errors():
            response = await self._client.workflow_service.describe_task_queue(request, timeout=RPC_TIMEOUT)
        stopped = await self._stopped()
        found = [
            Poller(identity=p.identity, last_access=seen, stopped=seen <= stopped.get(p.identity, _NEVER))
            for p, seen in ((p, _moment(p.last_access_time)) for p in response.pollers)
        ]
        return sorted(found, key=lambda poller: poller.last_access, reverse=True)

    async def reconciler_schedule(self) -> ReconcilerSchedule | None:
        """The state of the reconciler's own schedule; None if it has none."""
        try:
            with translate_rpc_errors():
                handle = self._client.get_schedule_handle(contract.RECONCILE_ID)
                description = await handle.describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if is_not_found(error):
                return None
            raise
        recent = description.info.recent_actions
        return ReconcilerSchedule(
            paused=description.schedule.state.paused,
            note=description.schedule.state.note,
            last_run_at=recent[-1].started_at if recent else None,
        )

    async def _stopped(self) -> dict[str, datetime]:
        """The time of the last shutdown heartbeat of each worker identity. Empty if the server does not list workers.

        A worker that starts again in the same container has the same identity, so callers compare with its last poll.
        """
        request = ListWorkersRequest(namespace=self._client.namespace)
        try:
            response = await self._client.workflow_service.list_workers(request, timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status in _NOT_OFFERED:
                return {}
            with translate_rpc_errors():
                raise
        beats = [info.worker_heartbeat for info in response.workers_info]
        gone = sorted((_moment(b.heartbeat_time), b.worker_identity) for b in beats if b.status in _GONE)
        return {identity: moment for moment, identity in gone}


def _moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
