"""A cluster that is not there: none configured, none for this project, or one that does not answer."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from orchestrator.devstack.ports import choose_ports
from orchestrator.devstack.stack import DevStack
from orchestrator.engines.spark.sessions import Sessions, secrets_of
from orchestrator.model.errors import ClusterUnavailable
from orchestrator.settings import SettingsError, load_settings
from tests.spark.views import refused
from tests.support.tenants import a_tenant, dev_stack, write_parquet

TOKEN = "a-token-that-is-nowhere"  # noqa: S105 - of no server
NEEDED = {"database_url": "postgresql:///x", "data_dir": "/x"}


@pytest.fixture(scope="module")
async def others(tmp_path_factory: pytest.TempPathFactory, sources: Path) -> AsyncIterator[DevStack]:
    """A stack whose cluster is away, and is for one project only."""
    (port,) = choose_ports({"nothing": 0})
    async with AsyncExitStack() as exits:
        with pytest.MonkeyPatch.context() as patch:  # of the processes that are started in it
            patch.setenv("MATVIEW_SPARK_REMOTE", f"sc://127.0.0.1:{port}/;token={TOKEN}")
            patch.setenv("MATVIEW_SPARK_PROJECTS", "[2]")
            running = await exits.enter_async_context(dev_stack(tmp_path_factory.mktemp("away") / "home", sources))
        yield running


async def test_a_cluster_that_is_away_or_for_others_is_said_and_its_token_is_not(
    others: DevStack, sources: Path
) -> None:
    path = write_parquet(sources / "away.parquet", n=[1])
    async with a_tenant(others) as mine, a_tenant(others) as other:
        assert mine.project_id == 2
        await mine.add_table("t", path)
        body = {"name": "v", "query": {"query": "SELECT n FROM t", "engine": "spark"}}
        began = time.monotonic()
        error = await mine.error("POST", "/warehouse_saved_queries/", body, status=503)
        assert time.monotonic() - began < 30
        assert error["code"] == "cluster_unavailable"
        assert TOKEN not in error["detail"]
        await other.add_table("t", path)
        assert await refused(other, "SELECT n FROM t") == "Invalid query: this project may not use the engine spark."
    logs = Path(others.info["data_dir"]).parent / "logs"
    assert not [log for log in logs.rglob("*.log") if TOKEN in log.read_text(errors="replace")]


async def test_without_a_cluster_such_a_view_is_refused(
    tmp_path_factory: pytest.TempPathFactory, sources: Path
) -> None:
    async with dev_stack(tmp_path_factory.mktemp("none") / "home", sources) as stack, a_tenant(stack) as tenant:
        await tenant.add_table("t", write_parquet(sources / "none.parquet", n=[1]))
        found = await refused(tenant, "SELECT n FROM t")
        assert found == "Invalid query: no cluster is configured for the engine spark (MATVIEW_SPARK_REMOTE)."
        body = {"views": [{"name": "v", "query": {"query": "SELECT n FROM t", "engine": "spark"}}]}
        (problem,) = (await tenant.call("POST", "/definitions/plan/", body))["problems"]
        assert problem["message"] == found


async def test_a_session_with_a_server_that_is_away_ends_soon() -> None:
    (port,) = choose_ports({"nothing": 0})
    sessions = Sessions(f"sc://127.0.0.1:{port}/;token={TOKEN}", most=1)
    began = time.monotonic()
    with pytest.raises(ClusterUnavailable) as raised:
        await sessions.run(lambda session: session.version)
    sessions.close()
    assert time.monotonic() - began < 25
    assert TOKEN not in raised.value.message


@pytest.mark.parametrize("url", ["http://x:1", "sc://", "sc://host:1/path", "sc://host:1?x=1"])
def test_the_url_of_a_cluster_is_checked(url: str) -> None:
    with pytest.raises(SettingsError, match="MATVIEW_SPARK_REMOTE: it must be a URL like sc://"):
        load_settings(**NEEDED, spark_remote=url)


def test_the_token_of_a_cluster_is_a_secret() -> None:
    url = "sc://host:443/;use_ssl=true;token=abc%2Fdef"
    assert {"abc%2Fdef", "abc/def"} <= {*load_settings(**NEEDED, spark_remote=url).secrets}
    assert {url, "abc%2Fdef", "abc/def"} <= {*secrets_of(url)}


def test_the_projects_of_a_cluster_are_a_list() -> None:
    assert load_settings(**NEEDED, spark_projects="[1, 7]").spark_projects == [1, 7]
    with pytest.raises(SettingsError, match=r"MATVIEW_SPARK_PROJECTS: it must be a JSON list of numbers"):
        load_settings(**NEEDED, spark_projects="1,7")
