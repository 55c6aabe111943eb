"""The server itself: its version, its namespace, and who polls it. For whoever examines an installation."""

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
# What a server answers that is older than the question, or that was told not to answer it.
_NOT_OFFERED = (RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED)


class Namespace(Value):
    """A namespace. `pushes_commands` says whether the server takes cancels to workers at once, as far as it tells."""

    name: str
    retention: timedelta
    pushes_commands: bool


class Poller(Value):
    """A process that asked a task queue for work, and when it last did, by the server's clock.

    The server remembers it for five minutes, whatever became of it. `stopped` says that it took its leave.
    """

    identity: str
    last_access: datetime
    stopped: bool


class ReconcilerSchedule(Value):
    """How the reconciler's own schedule stands. `note` says why it is paused, if it is."""

    paused: bool
    note: str | None
    last_run_at: datetime | None


class ServerInfo:
    """One Temporal server, seen from one of its namespaces."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def address(self) -> str:
        """The host and port that are connected to."""
        return self._client.service_client.config.target_host

    @property
    def namespace_name(self) -> str:
        """The namespace that everything is asked in."""
        return self._client.namespace

    async def version(self) -> str:
        """The server's release. Raises TemporalUnavailable."""
        with translate_rpc_errors():
            told = await self._client.workflow_service.get_system_info(GetSystemInfoRequest(), timeout=RPC_TIMEOUT)
        return told.server_version

    async def namespace(self) -> Namespace:
        """The namespace. Raises TemporalUnavailable, also if the server does not have it."""
        request = DescribeNamespaceRequest(namespace=self._client.namespace)
        with translate_rpc_errors():
            told = await self._client.workflow_service.describe_namespace(request, timeout=RPC_TIMEOUT)
        return Namespace(
            name=told.namespace_info.name,
            retention=told.config.workflow_execution_retention_ttl.ToTimedelta(),
            pushes_commands=told.namespace_info.capabilities.worker_commands,
        )

    async def missing_attributes(self) -> list[str]:
        """Which of our search attributes the namespace lacks, or has as another type. Raises TemporalUnavailable."""
        return await missing_attributes(self._client)

    async def pollers(self, queue: str, kind: str) -> list[Poller]:
        """Who asked for the `workflow` or `activity` tasks of a queue, whoever was last to ask first."""
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=_TYPES[kind]
        )
        with translate_rpc_errors():
            told = await self._client.workflow_service.describe_task_queue(request, timeout=RPC_TIMEOUT)
        stopped = await self._stopped()
        found = [
            Poller(identity=p.identity, last_access=seen, stopped=seen <= stopped.get(p.identity, _NEVER))
            for p, seen in ((p, _moment(p.last_access_time)) for p in told.pollers)
        ]
        return sorted(found, key=lambda poller: poller.last_access, reverse=True)

    async def reconciler_schedule(self) -> ReconcilerSchedule | None:
        """How the reconciler's own schedule stands; None if there is none."""
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
            told = await self._client.workflow_service.list_workers(request, timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status in _NOT_OFFERED:
                return {}
            with translate_rpc_errors():
                raise
        beats = [info.worker_heartbeat for info in told.workers_info]
        gone = sorted((_moment(b.heartbeat_time), b.worker_identity) for b in beats if b.status in _GONE)
        return {identity: moment for moment, identity in gone}


def _moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
