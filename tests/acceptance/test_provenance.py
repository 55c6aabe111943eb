"""A result is made from whole source files only, and records the path, size, time and digest of each."""

import gzip
import os
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import xxhash

from orchestrator.model.snapshot import Manifest
from tests.support.tenants import Json, Tenant

TEXT = b"id,n\n" + b"".join(b"%d,%d\n" % (i, i * 7919 % 1_000_000_000) for i in range(100_000))
VIEWS = "/warehouse_saved_queries/"


def a_folder(sources: Path) -> Path:
    folder = sources / uuid4().hex
    folder.mkdir()
    return folder


async def run_again(tenant: Tenant, view: Json, runs: int) -> Json:
    await tenant.act(view["id"], "run")
    return await tenant.ended(view["id"], runs)


async def newest_version(tenant: Tenant, view: Json) -> Json:
    version: Json = (await tenant.call("GET", f"{VIEWS}{view['id']}/snapshots/"))["results"][0]
    return version


async def test_a_compressed_file_that_was_cut_off_fails_the_run_and_the_last_good_result_stays(
    tenant: Tenant, sources: Path
) -> None:
    path = a_folder(sources) / "a.csv.gz"
    path.write_bytes(gzip.compress(TEXT))
    await tenant.add_table("cut", path.parent / "*.csv.gz", "CSVWithNames")
    view = await tenant.materialized("cut_rows", "SELECT count(*) AS n FROM cut")
    whole = path.read_bytes()
    for runs, content in enumerate([whole[: len(whole) // 2], whole[:-8], whole[:-5] + b"x" + whole[-4:]], start=2):
        path.with_name("new").write_bytes(content)
        path.with_name("new").replace(path)
        run = await run_again(tenant, view, runs)
        assert (run["status"], run["error"].startswith(f'Reading "cut": {path} is ')) == ("Failed", True)
        assert run["duration_seconds"] < 60
        assert await tenant.rows(view) == [{"n": 100_000}]
    refused = await tenant.error(
        "POST",
        "/warehouse_tables/",
        {"name": "again", "format": "CSVWithNames", "url_pattern": str(path)},
        status=400,
    )
    assert (refused["attr"], f"{path} is damaged" in refused["detail"]) == ("url_pattern", True)
    path.write_bytes(whole)
    assert (await run_again(tenant, view, 5))["status"] == "Completed"


async def test_a_padded_file_ends_the_run_at_its_first_try_and_is_named(tenant: Tenant, sources: Path) -> None:
    path = a_folder(sources) / "a.csv.gz"
    path.write_bytes(gzip.compress(TEXT))
    await tenant.add_table("gzp", path, "CSVWithNames")
    view = await tenant.materialized("v_gzp", "SELECT count(*) AS n FROM gzp")
    assert await tenant.rows(view) == [{"n": 100_000}]
    with path.open("ab") as stream:
        stream.write(bytes(512))
    run = await run_again(tenant, view, 2)
    assert run["status"] == "Failed"
    assert run["error"] == (
        f'Reading "gzp": {path} is damaged: behind the end of its gzip data are bytes that do not belong there.'
    )
    # Retries would wait for two minutes in all.
    assert run["duration_seconds"] < 60


def recorded(path: Path) -> Json:
    content = path.read_bytes()
    return {"path": str(path), "bytes": len(content), "digest": f"xxh128:{xxhash.xxh3_128_hexdigest(content)}"}


def without_time(file: Json, path: Path) -> Json:
    """The fields of a listed file without its time, which is checked here."""
    rest = {key: value for key, value in file.items() if key not in {"modified_at", "table"}}
    assert abs(datetime.fromisoformat(file["modified_at"]).timestamp() - path.stat().st_mtime) < 0.001
    return rest


async def test_a_version_and_its_manifest_say_which_files_it_was_made_from(tenant: Tenant, sources: Path) -> None:
    folder = a_folder(sources)
    paths = [folder / "1.csv", folder / "2.csv.gz"]
    paths[0].write_bytes(TEXT)
    paths[1].write_bytes(gzip.compress(b"id,n\n1,2\n"))
    os.utime(paths[0], (1_700_000_000, 1_700_000_000.5))
    table = await tenant.add_table("numbers", folder / "*", "CSVWithNames")
    view = await tenant.materialized("v", "SELECT count(*) AS n FROM numbers")

    version = await newest_version(tenant, view)
    (pin,) = version["inputs"]
    assert (pin["name"], pin["kind"], pin["id"], pin["snapshot_id"]) == ("numbers", "source", table["id"], None)
    assert (pin["file_count"], pin["bytes"]) == (2, sum(path.stat().st_size for path in paths))
    assert [without_time(file, path) for file, path in zip(pin["files"], paths, strict=True)] == list(
        map(recorded, paths)
    )
    assert pin["files"][0]["modified_at"] == "2023-11-14T22:13:20.500000Z"

    listed = await tenant.call("GET", f"{VIEWS}{view['id']}/snapshots/{version['id']}/source_files/")
    assert listed["count"] == 2
    assert listed["results"] == [{**file, "table": "numbers"} for file in pin["files"]]

    manifest = (tenant.data_dir / "snapshots" / version["location"] / "manifest.json").read_bytes()
    (of_manifest,) = Manifest.model_validate_json(manifest).snapshot.inputs
    assert [file.model_dump(exclude={"modified_at", "identity"}) for file in of_manifest.files] == list(
        map(recorded, paths)
    )

    # The digest does not depend on the times of the files.
    os.utime(paths[0])
    await run_again(tenant, view, 2)
    assert (await newest_version(tenant, view))["inputs"][0]["digest"] == pin["digest"]


async def test_of_very_many_files_the_first_are_shown_and_all_are_listed(tenant: Tenant, sources: Path) -> None:
    folder = a_folder(sources)
    for n in range(1_500):
        (folder / f"{n:04}.csv").write_bytes(b"id,n\n%d,1\n" % n)
    await tenant.add_table("many", folder / "*.csv", "CSVWithNames")
    view = await tenant.materialized("v", "SELECT count(*) AS n FROM many")
    version = await newest_version(tenant, view)
    (pin,) = version["inputs"]
    assert pin["file_count"] == 1_500
    assert 20 < len(pin["files"]) < 200

    path = f"{VIEWS}{view['id']}/snapshots/{version['id']}/source_files/"
    pages = [await tenant.call("GET", f"{path}?page={page}&page_size=700") for page in (1, 2, 3)]
    assert [(page["count"], len(page["results"])) for page in pages] == [(1_500, 700), (1_500, 700), (1_500, 100)]
    files = [file for page in pages for file in page["results"]]
    assert [file["path"] for file in files] == [f"{folder}/{n:04}.csv" for n in range(1_500)]
    assert without_time(files[1_499], folder / "1499.csv") == recorded(folder / "1499.csv")


async def test_a_view_without_sources_and_one_without_a_result_have_no_source_files(tenant: Tenant) -> None:
    view = await tenant.materialized("v", "SELECT 1 AS n")
    version = await newest_version(tenant, view)
    path = f"{VIEWS}{view['id']}/snapshots/{version['id']}/source_files/"
    assert (await tenant.call("GET", path))["results"] == []
    await tenant.error("GET", f"{VIEWS}{view['id']}/snapshots/{uuid4()}/source_files/", status=404)
