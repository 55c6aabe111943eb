"""The check of the Spark cluster, where one is configured."""

import time
from uuid import uuid4

from orchestrator.doctor.report import Check, CheckResult, fail, ok, run_in_daemon_thread
from orchestrator.engines.base import ClusterProbe
from orchestrator.model.errors import OrchestratorError, StoreUnavailable
from orchestrator.model.snapshot import SnapshotFile
from orchestrator.settings import PREFIX
from orchestrator.stores.base import SnapshotStore

# As the check of the store: no project has the id 0.
_PROBES = "0/doctor"
_FILE = "data_0.parquet"


class ClusterChecks:
    """Has the cluster write one row as a result, and read it again where results are sealed."""

    def __init__(self, cluster: ClusterProbe | None, store: SnapshotStore) -> None:
        self._cluster = cluster
        self._store = store

    def checks(self) -> list[Check]:
        """The check to run; none without a cluster."""
        if self._cluster is None:
            return []
        cluster = self._cluster
        return [Check("spark", lambda: self._works(cluster), f"start the cluster, or look at {PREFIX}SPARK_REMOTE")]

    async def _works(self, cluster: ClusterProbe) -> CheckResult:
        began = time.perf_counter()
        version = await cluster.version()
        try:
            await self._round_trip(cluster)
        except (OrchestratorError, FileNotFoundError) as error:
            is_elsewhere = isinstance(error, FileNotFoundError)
            reason = "this machine does not find what it writes" if is_elsewhere else str(error)
            advice = (
                "give the cluster the bucket and keys to it, or the data folder under the same path (docs/spark.md)"
            )
            return fail(f"Spark {version} answers, and does not share the results: {reason}", advice)
        took = 1000 * (time.perf_counter() - began)
        return ok(f"Spark {version}: the cluster wrote a row, and read it where results are, in {took:.0f} ms")

    async def _round_trip(self, cluster: ClusterProbe) -> None:
        location = f"{_PROBES}/{uuid4().hex}"
        try:
            target = await self._store.stage(location)
            await cluster.write(target)
            size = await run_in_daemon_thread(lambda: (target.folder / _FILE).stat().st_size)
            files = await self._store.measure(location, [SnapshotFile(name=_FILE, rows=1, bytes=size)])
            await self._store.seal(location, files, b"{}")
            found = await cluster.read(self._store.file_url(location, _FILE))
            if found != 1:
                raise StoreUnavailable(f"The cluster finds {found} rows where this machine has sealed 1.")
        finally:
            await self._store.discard(location)
