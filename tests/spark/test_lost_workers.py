"""A killed worker, with results on a disk that the cluster shares."""

from pathlib import Path

from orchestrator.devstack.stack import DevStack
from tests.spark.lost_workers import lose_a_worker
from tests.support.tenants import Tenant


async def test_the_query_of_a_killed_worker_is_published_once_and_what_the_cluster_writes_later_is_swept(
    stack: DevStack, tenant: Tenant, folder: Path
) -> None:
    def files() -> list[str]:
        roots = (tenant.data_dir / root / str(tenant.project_id) for root in ("staging", "snapshots"))
        return [str(path) for root in roots for path in root.rglob("*") if path.is_file()]

    staging = (tenant.data_dir / "staging").as_uri()
    await lose_a_worker(stack, tenant, folder, staging=staging, files=files, env={})
