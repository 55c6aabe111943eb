"""Diffs with the service in the test's own process: what keeps the files of the versions, and what need not be read."""

import json
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from orchestrator.container import Container
from orchestrator.model.errors import NotFound
from orchestrator.model.snapshot import Retention
from orchestrator.reconciliation.files import FileReconciler
from orchestrator.services.diffs import ComparedVersions, DiffRequest
from tests.services.conftest import Project
from tests.support.tenants import Json, Tenant

AT_ONCE = Retention(count=1, age=timedelta(days=1), grace=timedelta(0))


async def two_versions(tenant: Tenant, first: str, second: str) -> tuple[Json, UUID, UUID]:
    view = await tenant.materialized("v", first)
    earlier = view["current_snapshot_id"]
    body = {"query": {"query": second}, "soft_update": True}
    await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/", body)
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 2)
    view = await tenant.view(view["id"])
    return view, UUID(earlier), UUID(view["current_snapshot_id"])


async def remove_expired(container: Container) -> set[str]:
    """Remove all versions but the newest of each view, and their files."""
    files = FileReconciler(container.database, container.store, AT_ONCE)
    removed = {finding.subject async for finding in files.remove_expired(False)}
    async for _ in files.delete_orphaned(False):
        pass
    return removed


async def members(container: Container, project: Project, versions: ComparedVersions) -> Json:
    async with container.services.diffs.members(project.id, versions, DiffRequest(100)) as parts:
        found: Json = json.loads(b"{" + b"".join([part async for part in parts]) + b"}")
        return found


async def test_retention_removes_no_version_that_a_diff_reads(
    container: Container, project: Project, tenant: Tenant
) -> None:
    view, earlier, later = await two_versions(tenant, "SELECT 1 AS n", "SELECT 2 AS n")
    diffs = container.services.diffs
    versions = await diffs.versions(project.id, UUID(view["id"]), earlier, later, ())
    async with diffs.members(project.id, versions, DiffRequest(100)) as parts:
        assert str(earlier) not in await remove_expired(container)
        found = json.loads(b"{" + b"".join([part async for part in parts]) + b"}")
        assert found["rows"] == {"added": 1, "removed": 1, "changed": 0, "unchanged": 0}
    assert str(earlier) in await remove_expired(container)
    with pytest.raises(NotFound, match="no longer kept"):
        async with diffs.members(project.id, versions, DiffRequest(100)):
            pass
    with pytest.raises(NotFound, match="no longer kept"):
        await diffs.versions(project.id, UUID(view["id"]), earlier, later, ())


async def test_versions_whose_contents_have_the_same_digest_are_not_read(
    container: Container, project: Project, tenant: Tenant
) -> None:
    view, earlier, later = await two_versions(tenant, "SELECT 1 AS n", "SELECT 2 - 1 AS n")
    async with container.database.begin() as tx:  # the versions of views that others read have digests
        await tx.execute(text("UPDATE snapshots SET content = 'x' WHERE saved_query_id = :view"), {"view": view["id"]})
    versions = await container.services.diffs.versions(project.id, UUID(view["id"]), earlier, later, ["n"])
    for file in tenant.files(view):
        file.unlink()
    found = await members(container, project, versions)
    assert found["is_identical"]
    assert found["rows"] == {"added": 0, "removed": 0, "changed": 0, "unchanged": 1}


async def test_a_version_equals_itself_without_being_read(
    container: Container, project: Project, tenant: Tenant
) -> None:
    view = await tenant.materialized("v", "SELECT i FROM range(7) t(i)")
    only = UUID(view["current_snapshot_id"])
    versions = await container.services.diffs.versions(project.id, UUID(view["id"]), only, None, ())
    for file in tenant.files(view):
        file.unlink()
    assert (await members(container, project, versions))["rows"]["unchanged"] == 7
