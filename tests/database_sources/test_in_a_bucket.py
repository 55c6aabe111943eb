"""Copies where results are in an object store: any worker reads them there."""

import json
from pathlib import Path
from uuid import uuid4

import obstore
import pytest

from orchestrator.stores.objects import open_objects
from tests.database_sources.conftest import CREDENTIAL
from tests.generations.test_refreshing import refreshed, statuses
from tests.support.postgres_server import USER, PostgresServer
from tests.support.s3_server import BUCKET, S3Server
from tests.support.tenants import a_tenant, dev_stack


async def test_a_copy_is_in_the_bucket_and_read_from_there(
    postgres: PostgresServer, s3: S3Server, tmp_path: Path, sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = str(uuid4())
    url = f"s3://{BUCKET}/{prefix}"
    postgres.run("CREATE SCHEMA bucket", f"GRANT USAGE ON SCHEMA bucket TO {USER}")
    postgres.run("CREATE TABLE bucket.t AS SELECT 1 AS n", f"GRANT SELECT ON bucket.t TO {USER}")
    for name, value in s3.settings(url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MATVIEW_SOURCE_DATABASES", json.dumps([postgres.allowed]))
    async with dev_stack(tmp_path / "home", sources) as stack, a_tenant(stack) as tenant:
        body = {"name": "t", "format": "PostgreSQL", "url_pattern": postgres.url("bucket.t"), "credential": CREDENTIAL}
        table = await tenant.call("POST", "/warehouse_tables/", body, expect=201)
        await tenant.materialized("v", "SELECT n FROM t")
        found = await tenant.call("POST", "/query/", {"query": {"query": "SELECT v.n + t.n FROM v, t"}})
        assert found["results"] == [[2]]
        objects = open_objects(url, s3.options)
        names = {one["path"] for some in obstore.list(objects) for one in some}
        assert any(f"/{table['id']}/" in name and name.endswith("/rows.parquet") for name in names)
        assert not [*tenant.data_dir.glob(f"staging/*/{table['id']}/*")]
        assert statuses(await refreshed(tenant, "v")) == {"v": "Skipped"}
        postgres.run("INSERT INTO bucket.t VALUES (5)")
        assert statuses(await refreshed(tenant, "v")) == {"v": "Completed"}
