"""Results on a disk that the cluster shares with the worker, under the same paths."""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

from orchestrator.engines.duckdb.disk_space import size_of
from orchestrator.model.cluster_files import result_names
from orchestrator.model.errors import InputMissing
from orchestrator.model.write_target import WriteTarget

# Within the folder of a run, until all is written. Spark does not write into a folder that exists.
_WRITING = "spark"


class SharedFolder:
    """The folder of a run, in which the cluster makes one of its own. A ClusterFiles."""

    measure_seconds = 0.25

    def url(self, name: str) -> str:
        """See ClusterFiles."""
        return Path(name).as_uri()

    def target_url(self, target: WriteTarget) -> str:
        """See ClusterFiles."""
        return (target.folder / _WRITING).as_uri()

    async def measure(self, target: WriteTarget) -> int:
        """See ClusterFiles."""
        return await asyncio.to_thread(size_of, str(target.folder))

    async def collect(self, target: WriteTarget, suffix: str) -> None:
        """See ClusterFiles."""
        await asyncio.to_thread(_take_over, target.folder / _WRITING, suffix)

    async def require(self, files: Mapping[str, int]) -> None:
        """See ClusterFiles."""
        if not await asyncio.to_thread(_are_there, files):
            raise InputMissing("A file of a result that the query reads no longer exists.")


def _take_over(folder: Path, suffix: str) -> None:
    """Move the files of a result into the folder above, under names that no other version has."""
    names = result_names([path.name for path in folder.glob("*.parquet")], suffix)
    for written, name in names.items():
        (folder / written).rename(folder.parent / name)
    shutil.rmtree(folder, ignore_errors=True)


def _are_there(files: Mapping[str, int]) -> bool:
    try:
        return all(Path(path).stat().st_size == size for path, size in files.items())
    except OSError:
        return False
