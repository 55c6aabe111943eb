"""A worker that is killed while the cluster works for it: the next attempt publishes, and the earlier one may go on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.devstack.stack import DevStack
from orchestrator.engines.spark.sessions import Sessions
from tests.acceptance.test_retries import attempts
from tests.spark.test_cancelling import processor_share, swept
from tests.spark.views import rows, save
from tests.support.tenants import Tenant, until, write_parquet

# Takes the cluster some seconds, and gives few rows.
_LONG = "SELECT a.n, b.n AS m FROM t a CROSS JOIN t b WHERE (a.n * b.n + a.n) % 50021 = 7"
_COUNT = 30_000
_PAIRS = [[n, m] for n in range(3) for m in range(_COUNT) if (n * m + n) % 50021 == 7]


async def lose_a_worker(
    stack: DevStack,
    tenant: Tenant,
    folder: Path,
    *,
    staging: str,
    files: Callable[[], Sequence[str]],
    env: Mapping[str, str],
) -> None:
    """Kill the worker during a query, and check that the query's result is there once, and later nothing else.

    The cluster writes below the URL `staging`. `files` lists all files of the project in the store, and `env` leads a
    command to it.
    """
    await tenant.add_table("t", write_parquet(folder / "t.parquet", n=list(range(_COUNT))))
    view = await save(tenant, "long", _LONG)
    await tenant.act(view["id"], "materialize")
    run = await tenant.running(view["id"])

    async def is_computing() -> bool:
        return await processor_share(stack, 0.5) > 0.4

    await until(is_computing, "the query on the cluster")
    stack.kill("worker")
    ended = await tenant.ended(view["id"])
    assert (ended["status"], ended["id"], await attempts(tenant, run["id"])) == ("Completed", run["id"], 2)
    versions = await tenant.call("GET", f"/warehouse_saved_queries/{view['id']}/snapshots/")
    assert versions["count"] == 1
    found = await rows(tenant, "SELECT n, m FROM long WHERE n < 3 ORDER BY n, m")
    assert found == _PAIRS
    before = sorted(name for name in files() if f"/{run['id']}-1/" not in name)

    # Sail may or may not go on with a query whose client is gone. Here it is certain to write as late as this.
    earlier = f"{tenant.project_id}/{view['id']}/{run['id']}-1"
    sessions = Sessions(remote_of(stack), most=1)
    late = f"{staging}/{earlier}/spark"
    await sessions.run(lambda session: session.sql("SELECT 1 AS n, 2 AS m").write.mode("append").parquet(late))
    sessions.close()
    assert any(f"/{run['id']}-1/" in name for name in files())
    assert await rows(tenant, "SELECT n, m FROM long WHERE n < 3 ORDER BY n, m") == found
    await swept(stack, env)
    assert sorted(files()) == before
    assert await rows(tenant, "SELECT n, m FROM long WHERE n < 3 ORDER BY n, m") == found


def remote_of(stack: DevStack) -> str:
    """The URL of the stack's cluster."""
    command = Path(f"/proc/{stack.info['pids']['sail']}/cmdline").read_bytes().decode().split("\0")
    return f"sc://127.0.0.1:{command[command.index('--port') + 1]}"
