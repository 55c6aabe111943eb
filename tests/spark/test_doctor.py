"""`matview doctor` tries the cluster, where one is configured."""

from pathlib import Path

from orchestrator.devstack.ports import choose_ports
from orchestrator.devstack.stack import DevStack
from tests.spark.doctor import spark_line
from tests.support.commands import run_matview


async def test_the_doctor_has_the_cluster_write_and_read_a_result(stack: DevStack) -> None:
    found = await spark_line(stack, {})
    assert found["verdict"] == "ok"
    assert "the cluster wrote a row, and read it where results are" in found["message"]
    assert not list((Path(stack.info["data_dir"]) / "snapshots").glob("0/doctor/*"))


async def test_the_doctor_says_that_a_cluster_is_away(stack: DevStack) -> None:
    (port,) = choose_ports({"nothing": 0})
    found = await spark_line(stack, {"MATVIEW_SPARK_REMOTE": f"sc://127.0.0.1:{port}/;token=a-token-of-no-server"})
    assert found["verdict"] == "fail"
    assert "answer" in found["message"]
    assert "MATVIEW_SPARK_REMOTE" in found["advice"]
    assert "a-token-of-no-server" not in str(found)


def test_without_a_cluster_there_is_no_such_line() -> None:
    assert '"spark"' not in run_matview("doctor", "--json").stdout
