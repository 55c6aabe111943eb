"""Tries a Spark cluster for `matview doctor`: its version, and whether it writes and reads the files of results."""

from collections.abc import Callable

from pyspark.sql.connect.session import SparkSession

from orchestrator.engines.spark.sessions import Sessions
from orchestrator.model.cluster_files import ClusterFiles
from orchestrator.model.errors import ClusterUnavailable
from orchestrator.model.write_target import WriteTarget

# A check of `matview doctor` may take five.
_SECONDS = 4.0


class SparkProbe:
    """Tries the cluster of `sessions`, which shares `files` with this machine. A ClusterProbe."""

    def __init__(self, sessions: Sessions, files: ClusterFiles) -> None:
        self._sessions = sessions
        self._files = files

    async def version(self) -> str:
        """See ClusterProbe."""
        return await self._run(lambda session: str(session.version))

    async def write(self, target: WriteTarget) -> None:
        """See ClusterProbe."""
        url = self._files.target_url(target)

        def one_row(session: SparkSession) -> str:
            session.sql("SELECT 1 AS n").write.parquet(url)
            return url

        await self._run(one_row)
        await self._files.collect(target, "probe")

    async def read(self, name: str) -> int:
        """See ClusterProbe."""
        url = self._files.url(name)
        return int(await self._run(lambda session: str(session.read.parquet(url).count())))

    async def _run(self, work: Callable[[SparkSession], str]) -> str:
        try:
            return await self._sessions.run(work, seconds=_SECONDS)
        except TimeoutError:
            raise ClusterUnavailable(f"The Spark cluster did not answer within {_SECONDS:g} seconds.") from None
