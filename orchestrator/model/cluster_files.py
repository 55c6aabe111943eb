"""The files that a cluster shares with the worker: for engines and stores, which do not import one another."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.model.write_target import WriteTarget


class ClusterFiles(Protocol):
    """How a cluster opens the files of results, and where it writes one.

    A cluster writes below the URL of an attempt and reads sealed files. Only the worker gives a result its place.
    """

    measure_seconds: float
    """How long to wait between two calls of `measure`, each of which may be a request that costs money."""

    def url(self, name: str) -> str:
        """The URL by which a cluster opens the file that DuckDB opens by this path or name."""

    def target_url(self, target: WriteTarget) -> str:
        """The URL of the folder that a cluster writes into. It does not exist yet, and is the attempt's own."""

    async def measure(self, target: WriteTarget) -> int:
        """The bytes that the cluster has written so far. Raises StoreUnavailable."""

    async def collect(self, target: WriteTarget, suffix: str) -> None:
        """Move the Parquet files that the cluster has written into the folder of `target`, under the names of results.

        `suffix` keeps the names apart from those of other versions. Raises StoreUnavailable.
        """

    async def require(self, files: Mapping[str, int]) -> None:
        """Raise InputMissing unless each of the files, by path or name, is there with its size in bytes.

        A sealed file does not change. If it is there after a query, then it was there during the query.
        """


def result_names(written: Sequence[str], suffix: str) -> dict[str, str]:
    """The names that the files of a result get, by those under which a cluster has written them."""
    ordered = sorted(written, key=lambda name: (len(name), name))
    if len(ordered) == 1:
        return {ordered[0]: "data_0.parquet"}
    return {name: f"data_{number}_{suffix}.parquet" for number, name in enumerate(ordered)}
