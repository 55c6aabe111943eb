"""`make image-check` holds the image to all that the deployment does. The check itself needs Docker or Podman."""

from pathlib import Path

import pytest

from tests.deploy.containers import Containers, limits
from tests.deploy.support import environment, services

# The keys that become options of `run`, those that the check does itself, and those of the machine that are left out.
_OPTIONS = {"user", "read_only", "cap_drop", "security_opt", "tmpfs", "init", "cpu_shares", "deploy", "volumes"}
_DONE = {"image", "build", "command", "environment", "healthcheck", "stop_grace_period", "depends_on"}
_LEFT_OUT = {"logging", "restart", "networks", "ports"}
OURS = [name for name, service in services().items() if service["image"].startswith("matview:")]


@pytest.mark.parametrize("name", OURS)
def test_the_check_leaves_out_nothing_that_compose_holds_a_container_to(name: str) -> None:
    service = services()[name]
    assert set(service) <= _OPTIONS | _DONE | _LEFT_OUT
    assert set(service["deploy"]["resources"]) == {"limits"}
    most = service["deploy"]["resources"]["limits"]
    expected = {
        *("--user", service["user"], "--read-only", "--init", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
        *("--tmpfs=/tmp:size=64m", f"--memory={most['memory']}", f"--cpus={most['cpus']}"),
        f"--pids-limit={most['pids']}",
    }
    assert set(limits(service)) == expected | ({"--cpu-shares=512"} if name == "worker" else set())


def test_a_container_gets_its_variables_and_no_secret_on_the_command_line(tmp_path: Path) -> None:
    machine = Containers(tmp_path, tmp_path, {"MATVIEW_STORE": "s3://b/p"}, engine="engine", image="matview:0.1.0")
    command = machine._command("worker", "worker1", ["matview", "worker"])
    passed = {word.removeprefix("--env=") for word in command if word.startswith("--env=")}
    assert passed == {*environment(machine.services["worker"]), "MATVIEW_STORE"}
    assert passed <= machine.surroundings("worker", "worker1").keys()
    assert not any(machine.variables("worker")["PGPASSWORD"] in word for word in command)
    assert command[-2:] == ["matview:0.1.0", "worker"]
    assert f"--volume={tmp_path / 'sources'}:/srv/sources:ro" in command
    assert f"--volume={tmp_path.name}-store:/var/lib/matview" in command
