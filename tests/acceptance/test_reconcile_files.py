"""The reconciler deletes versions that have expired, and files that nothing needs."""

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from orchestrator.model.findings import FindingKind
from orchestrator.model.snapshot import Retention
from tests.acceptance.reconciling import KEEP_ALL, Reconcile
from tests.support.tenants import ENDLESS, Json, Tenant


async def versions(tenant: Tenant, view: Json) -> list[str]:
    found = await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/snapshots/")
    return [version["id"] for version in found["results"]]


async def test_versions_beyond_the_number_that_is_kept_go_but_never_the_current_a_pinned_or_a_leased_one(
    tenant: Tenant, reconcile: Reconcile
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    path = f"/warehouse_saved_queries/{view['id']}"
    leased = view["current_snapshot_id"]
    reader = await tenant.create_view("reader", f"SELECT v.n FROM v, ({ENDLESS}) e")
    await tenant.act(reader["id"], "materialize")
    await tenant.running(reader["id"])
    for number in range(2, 7):
        await tenant.act(view["id"], "run")
        await tenant.ended(view["id"], number)
    made = await versions(tenant, view)
    assert (len(made), made[-1]) == (6, leased)
    await tenant.call("PATCH", f"{path}/snapshots/{made[-2]}/", {"pinned": True})
    await tenant.act(view["id"], "rollback", {"snapshot_id": made[-3], "pause_schedule": False})

    keep_two = Retention(count=2, age=timedelta(days=1), grace=timedelta(0))
    assert (FindingKind.VERSION_EXPIRED, made[2]) in await reconcile(retention=keep_two, dry_run=True)
    assert await versions(tenant, view) == made, "a dry run changes nothing"
    found = await reconcile(retention=keep_two)

    assert {subject for kind, subject in found if kind is FindingKind.VERSION_EXPIRED} & set(made) == {made[2]}
    assert await versions(tenant, view) == [*made[:2], *made[3:]]
    assert len({file.parent for file in tenant.files(view)}) == 5, "its files are gone too"
    await tenant.error("POST", f"{path}/rollback/", {"snapshot_id": made[2]}, status=404)

    await tenant.act(reader["id"], "cancel")
    await tenant.call("PATCH", f"{path}/snapshots/{made[-2]}/", {"pinned": False})
    await reconcile(retention=keep_two)
    assert await versions(tenant, view) == [*made[:2], made[-3]]
    assert await tenant.rows(view) == [{"n": 1}]


async def test_versions_that_checks_keep_from_readers_take_no_place_of_another(
    tenant: Tenant, reconcile: Reconcile, sources: Path
) -> None:
    path = sources / f"n-{tenant.project_id}.csv"
    path.write_text("n\n1\n")
    await tenant.add_table("numbers", path, "CSVWithNames")
    view = await tenant.materialized("v", "SELECT n FROM numbers")
    path.write_text("n\n2\n")
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 2)
    good = await versions(tenant, view)
    body = {"check_type": "row_count", "config": {"max": 1}}
    await tenant.call("POST", f"/warehouse_saved_queries/{view['id']}/checks/", body, expect=201)
    for number in range(3, 6):
        path.write_text("n\n1\n" + f"{number}\n" * number)
        await tenant.act(view["id"], "run")
        assert (await tenant.ended(view["id"], number))["status"] == "Failed"
    assert len(await versions(tenant, view)) == 5
    await reconcile(retention=Retention(count=2, age=timedelta(days=1), grace=timedelta(0)))
    assert (await versions(tenant, view))[2:] == good


async def test_old_versions_go_by_their_age_and_those_just_replaced_have_a_grace(
    tenant: Tenant, reconcile: Reconcile
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    await tenant.act(view["id"], "run")
    await tenant.ended(view["id"], 2)
    newest, oldest = await versions(tenant, view)
    old_and_kept = Retention(count=10, age=timedelta(0), grace=timedelta(hours=1))
    await reconcile(retention=old_and_kept)
    assert await versions(tenant, view) == [newest, oldest]
    await reconcile(retention=old_and_kept.model_copy(update={"grace": timedelta(0)}))
    assert await versions(tenant, view) == [newest]


async def test_what_a_reverted_or_deleted_view_left_goes_after_the_grace_even_if_pinned(
    tenant: Tenant, reconcile: Reconcile
) -> None:
    reverted, deleted = [await tenant.materialized(name, "SELECT 1 AS n") for name in ("a", "b")]
    for view in (reverted, deleted):
        (version,) = await versions(tenant, view)
        await tenant.call("PATCH", f"/warehouse_saved_queries/{view['id']}/snapshots/{version}/", {"pinned": True})
    await tenant.act(reverted["id"], "revert_materialization")
    await tenant.call("DELETE", f"/warehouse_saved_queries/{deleted['id']}/", expect=204)
    await reconcile(retention=KEEP_ALL.model_copy(update={"grace": timedelta(hours=1)}))
    assert len(tenant.files(reverted)) == len(tenant.files(deleted)) == 1
    await reconcile()
    assert tenant.files(reverted) == tenant.files(deleted) == []


async def test_files_that_no_run_needs_are_deleted_and_what_is_not_ours_is_left_alone(
    tenant: Tenant, reconcile: Reconcile
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    endless = await tenant.create_view("endless", ENDLESS)
    await tenant.act(endless["id"], "materialize")
    going_on = await tenant.running(endless["id"])
    (run,) = await tenant.history(view["id"])
    project = tenant.data_dir / "snapshots" / str(tenant.project_id)
    left = [project / view["id"] / f"{run['id']}-7", tenant.data_dir / "staging" / str(tenant.project_id)]
    left[1] = left[1] / view["id"] / f"{run['id']}-8"
    foreign = [
        project / view["id"] / f"{uuid4()}-1",
        project / view["id"] / "notes",
        tenant.data_dir / "snapshots" / "of" / "another" / "installation",
    ]
    for folder in [*left, *foreign]:
        folder.mkdir(parents=True)
        (folder / "data_0.parquet").write_text("something")

    found = await reconcile()

    assert not any(folder.exists() for folder in left)
    assert all((folder / "data_0.parquet").exists() for folder in foreign)
    assert sum(kind is FindingKind.UNKNOWN_FILES for kind, _ in found) == len(foreign)
    assert await tenant.rows(view) == [{"n": 1}]
    staged = tenant.data_dir / "staging" / str(tenant.project_id) / endless["id"] / f"{going_on['id']}-1"
    assert staged.exists(), "a run in progress keeps its folder"
    await tenant.act(endless["id"], "cancel")
    for folder in foreign:
        (folder / "data_0.parquet").unlink()
        folder.rmdir()


async def test_what_cannot_be_deleted_is_named_and_keeps_nothing_else_from_being_mended(
    tenant: Tenant, reconcile: Reconcile
) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    (run,) = await tenant.history(view["id"])
    folder = tenant.data_dir / "snapshots" / str(tenant.project_id) / view["id"]
    stubborn, other = folder / f"{run['id']}-7", folder / f"{run['id']}-8"
    stubborn.write_text("a file where a folder should be")
    other.mkdir()
    found = await reconcile()
    assert {kind for kind, subject in found if subject.endswith(stubborn.name)} == {FindingKind.REPAIR_FAILED}
    assert {kind for kind, subject in found if subject.endswith(other.name)} == {FindingKind.FILES_ORPHANED}
    assert not other.exists()
    stubborn.unlink()
