"""The Temporal server from its wheel: one process with its own database file and its UI."""

import asyncio
import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from orchestrator.devstack.home import Home, StackError
from orchestrator.devstack.ports import LOOPBACK
from orchestrator.devstack.processes import ManagedProcess
from orchestrator.temporal import contract

NAMESPACE = "default"
_RETENTION = timedelta(days=30)
_DYNAMIC_CONFIG = (
    # The development server reads the search attributes again for every list, which then takes ten times as long.
    "system.forceSearchAttributesCacheRefreshOnRead=false",
    # The server pushes a cancel to the worker at once, instead of at the next heartbeat. Both settings are needed.
    "system.enableCancelActivityWorkerCommand=true",
    "frontend.WorkerCommandsEnabled=true",
    # Many runs of one project do not delay another's. That is exact only if the task queue has one partition.
    "matching.enableFairness=true",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
)


class Temporal(ManagedProcess):
    """The Temporal server."""

    def __init__(self, home: Home, *, port: int, ui_port: int | None) -> None:
        super().__init__("temporal", home)
        self._port = port
        self._ui_port = ui_port
        self._folder = home.path / "temporal"

    @property
    def address(self) -> str:
        """The host and port for clients."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def ui_url(self) -> str:
        """The URL of its UI; empty without one."""
        return f"http://{LOOPBACK}:{self._ui_port}" if self._ui_port else ""

    def command(self) -> Sequence[str]:
        """The server, with a database that does not wait for the disk at every commit."""
        ui = ("--ui-port", str(self._ui_port), "--ui-disable-news-fetch") if self._ui_port else ("--headless",)
        return [
            *(str(_binary()), "server", "start-dev", "--ip", LOOPBACK, "--port", str(self._port), *ui),
            *("--db-filename", "temporal.db", "--log-level", "warn", "--color", "never"),
            *("--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=normal"),
            *("--disable-config-file", "--disable-config-env"),
            *(part for name in contract.SEARCH_ATTRIBUTES for part in ("--search-attribute", f"{name}=Keyword")),
            *(part for setting in _DYNAMIC_CONFIG for part in ("--dynamic-config-value", setting)),
        ]

    def environment(self) -> dict[str, str]:
        """Only these, since the developer's TEMPORAL_* variables are for other servers."""
        return {"PATH": os.defpath, "HOME": str(self._folder)}

    def directory(self) -> Path:
        """The folder of the database. In a path to it, SQLite could read some characters as options."""
        return self._folder

    async def prepare(self) -> None:
        """Creates the folder of the database."""
        self._folder.mkdir(mode=0o700, exist_ok=True)

    async def ready(self) -> bool:
        """Whether the server answers. Sets the namespace's retention to 30 days if it is shorter."""
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self._port)
            writer.close()
            await writer.wait_closed()
            await _keep_history(await Client.connect(self.address, namespace=NAMESPACE))
        except (OSError, RuntimeError, RPCError) as error:
            self.not_ready_reason = str(error)
            return False
        return True


async def _keep_history(client: Client) -> None:
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=NAMESPACE))
    if described.config.workflow_execution_retention_ttl.ToTimedelta() >= _RETENTION:
        return
    kept = Duration()
    kept.FromTimedelta(_RETENTION)
    config = NamespaceConfig(workflow_execution_retention_ttl=kept)
    await client.workflow_service.update_namespace(UpdateNamespaceRequest(namespace=NAMESPACE, config=config))


def _binary() -> str:
    places = (sysconfig.get_path("scripts"), str(Path(sys.executable).parent))
    binary = shutil.which("temporal", path=os.pathsep.join(places))
    if not binary:
        raise StackError("the Temporal server is not installed; install matview[embedded]")
    return binary
