"""The state that all tasks of the harness share."""

import time
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client

from chaos.catalog import Catalog
from chaos.client import Api
from chaos.disk import Disk
from chaos.history import History
from chaos.other_installation import OtherInstallation
from chaos.processes import Processes
from chaos.results import Results
from chaos.source_files import SourceFiles
from orchestrator.devstack.stack import DevStack

# Settings of the installation under test: everything that usually takes minutes or hours takes seconds.
RECONCILE_SECONDS = 10
GRACE_SECONDS = 5
VERSIONS_KEPT = 3
QUERY_TIMEOUT_SECONDS = 25
ENVIRONMENT = {
    "MATVIEW_RECONCILE_SECONDS": str(RECONCILE_SECONDS),
    "MATVIEW_READERS_GRACE_SECONDS": str(GRACE_SECONDS),
    "MATVIEW_SNAPSHOTS_KEPT": str(VERSIONS_KEPT),
    "MATVIEW_QUERY_TIMEOUT_SECONDS": str(QUERY_TIMEOUT_SECONDS),
    "MATVIEW_QUERY_MEMORY_MB": "256",
    "MATVIEW_QUERY_THREADS": "1",
    "MATVIEW_QUERY_TEMP_DISK_MB": "100",
    "MATVIEW_QUERY_OUTPUT_MB": "600",
    "MATVIEW_MAX_CONCURRENT_QUERIES": "6",
    "MATVIEW_WORKER_MEMORY_MB": "2048",
}


@dataclass(frozen=True)
class Harness:
    """A running stack, and what the harness uses to reach it and to record what it observes."""

    history: History
    stack: DevStack
    workers: tuple[str, ...]
    api: Api
    catalog: Catalog
    temporal: Client
    disk: Disk
    other_installation: OtherInstallation
    source: SourceFiles
    results: Results

    @property
    def data(self) -> Path:
        """The data folder of the stack."""
        return Path(self.stack.info["data_dir"])

    @property
    def project_id(self) -> str:
        """The id of the project in which everything happens."""
        return self.stack.info["project_id"]

    def pid(self, part: str) -> int | None:
        """The process id of a part of the stack, if it runs."""
        return self.stack.info["pids"].get(part)

    def pids(self, *parts: str) -> list[int]:
        """The process ids of those parts that run."""
        return [pid for part in parts if (pid := self.pid(part)) is not None]

    def worker_children(self) -> set[int]:
        """The ids of the child processes in which the workers analyse and run queries."""
        return Processes.now().query_children(self.pids(*self.workers))

    def frozen_lately(self) -> bool:
        """Whether a worker is frozen, or was within the last 15 seconds: its runs are then cleaned up late."""
        return time.monotonic() < self.history.frozen_until + 15
