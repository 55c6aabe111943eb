"""Runs the services of docker-compose.yml on this machine, without containers."""

import asyncio
import os
import re
import subprocess
import sysconfig
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.devstack.logs import Log
from orchestrator.devstack.ports import LOOPBACK, choose_ports
from orchestrator.devstack.postgres import binary
from orchestrator.devstack.processes import kill_group, run_once, spawn
from tests.deploy.support import ROOT, Json, environment, services, what_must_be_given

PATIENCE = 60.0
# Has the characters that are special in a URL, a shell, SQL and a connection string.
PASSWORD = "p@ss/w:rd %2f'\"\\ #?&"  # noqa: S105 - of a server that lives for a test
_CONFINED = ("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")


@dataclass
class Machine:
    """The folders, ports and processes that take the place of the containers' own."""

    folder: Path
    bin: Path
    # Variables that .env may have: an object store's.
    given: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    running: dict[str, Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = ("postgres", "temporal", "temporal-ui", "api")
        self.ports = dict(zip(names, choose_ports(dict.fromkeys(names, 0)), strict=True))
        secrets = {**what_must_be_given(), "POSTGRES_PASSWORD": PASSWORD, "CATALOG_PASSWORD": PASSWORD}
        self.services = services(variables={**secrets, "SOURCES_DIR": str(self.path("sources"))})
        for service in self.services.values():
            if not self.can_be(service):
                service["user"] = f"{os.getuid()}:{os.getgid()}"
        for name in ("store", "sources", "log", "socket", "tmp"):
            self.path(name).mkdir()
            give(self.path(name), self.services["worker"]["user"])

    def path(self, name: str) -> Path:
        return self.folder / name

    def can_be(self, service: Json) -> bool:
        """Whether the user of a container can read here all that its process needs."""
        ours = is_ours(service)
        return (not ours or _runs_as(service["user"], self.bin / "python")) and _reads(service.get("user"))

    def reachable(self, text: str) -> str:
        """A word of the file, with the addresses of this machine in it."""
        for host in ("postgres:5432", "temporal:7233"):
            text = text.replace(host, f"{LOOPBACK}:{self.ports[host.partition(':')[0]]}")
        text = re.sub(r"127\.0\.0\.1:8000\b", f"{LOOPBACK}:{self.ports['api']}", text)
        return re.sub(r"127\.0\.0\.1:8080\b", f"{LOOPBACK}:{self.ports['temporal-ui']}", text)

    def here(self, text: str, instance: str) -> str:
        """A word of the file, with the addresses and folders of this machine in it."""
        text = self.reachable(text)
        text = text.replace("/var/lib/matview", str(self.path("store")))
        text = text.replace("/srv/sources", str(self.path("sources")))
        return text.replace("/tmp/ready", str(self.path("tmp") / f"{instance}.ready"))  # noqa: S108 - a container's own

    def source(self, name: str) -> str:
        """The path of a source file as the API and the workers see it."""
        return str(self.path("sources") / name)

    def variables(self, name: str, instance: str | None = None) -> dict[str, str]:
        """The whole environment of a container."""
        service = self.services[name]
        passed = {key: value for key, value in self.given.items() if key in service.get("environment", {})}
        given = {key: self.here(value, instance or name) for key, value in (environment(service) | passed).items()}
        changed = {"MATVIEW_API_HOST": LOOPBACK, "MATVIEW_API_PORT": str(self.ports["api"])}
        changed["MATVIEW_METRICS_PORT"] = str(choose_ports({"metrics": 0})[0])
        path = {"PATH": f"{self.bin}:{tools()}:{os.defpath}", "HOME": str(self.path("nonexistent"))}
        return path | {key: changed.get(key, value) for key, value in given.items()}

    def privileges(self, name: str) -> Sequence[str]:
        """Options that run a process as the container's user, without capabilities. Without root, there are none."""
        if os.geteuid() != 0:
            return ()
        return as_user(self.services[name]["user"])

    async def run(self, name: str, *argv: str) -> str:
        """Run a command of a container that runs once. Returns its output; raises StackError if it failed."""
        log = Log(self.path("log") / f"{name}-{time.monotonic_ns()}.log")
        env = self.variables(name)
        await run_once(name, argv, log, env, privileges=self.privileges(name), directory=Path("/"))
        return log.path.read_text()

    async def start(self, name: str, instance: str, argv: Sequence[str]) -> None:
        log = Log(self.path("log") / f"{instance}.log")
        env, privileges = self.variables(name, instance), self.privileges(name)
        self.running[instance] = await spawn(argv, log, env, privileges=privileges, directory=Path("/"))

    async def healthy(self, name: str, instance: str, test: Sequence[str] | None = None) -> None:
        """Wait until the health check of a container succeeds. Raises AssertionError if it does not."""
        _, *argv = test or [self.here(word, instance) for word in self.services[name]["healthcheck"]["test"]]
        log = Log(self.path("log") / f"{instance}-health.log")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if instance in self.running:
                assert self.running[instance].returncode is None, log_of(self, instance)
            check = await spawn(argv, log, self.variables(name, instance), directory=Path("/"))
            if await check.wait() == 0:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{instance} did not become healthy: {log_of(self, instance)}")

    async def stop(self, instance: str) -> int:
        """Stop as `docker compose stop` does. Returns the exit status."""
        process = self.running.pop(instance)
        process.terminate()
        return await asyncio.wait_for(process.wait(), self.grace(instance))

    def grace(self, instance: str) -> int:
        """How many seconds a container has between the signal to stop and the one to die."""
        service = self.services[instance.rstrip("0123456789")]
        return int(service.get("stop_grace_period", "10s").removesuffix("s"))

    async def end(self) -> None:
        """Kill all processes that still run."""
        for process in self.running.values():
            kill_group(process)
            await process.wait()


def is_ours(service: Json) -> bool:
    """Whether a container is made of the image of this repository."""
    return str(service["image"]).startswith("matview:")


def log_of(machine: Machine, instance: str) -> str:
    return (machine.path("log") / f"{instance}.log").read_text()[-3000:]


def tools() -> str:
    return f"{sysconfig.get_path('scripts')}:{binary('psql').parent}"


def as_user(user: str) -> Sequence[str]:
    uid, _, gid = user.partition(":")
    return (f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *_CONFINED)


def _runs_as(user: str, python: Path) -> bool:
    """Whether the user can read all of that Python: one below root's own folder is closed to others."""
    say = [str(python), "-I", "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"]
    argv = ["setpriv", *as_user(user), "--", *say] if os.geteuid() == 0 else say
    said = [subprocess.run(one, capture_output=True, text=True, check=False).stdout for one in (argv, say)]
    return said[0] == said[1]


def _reads(user: str | None) -> bool:
    """Whether the user can enter the clone, and so read the scripts that are mounted into containers."""
    if user is None or os.geteuid() != 0:
        return True
    argv = ["setpriv", *as_user(user), "--", "cat", str(ROOT / "deploy/temporal/namespace.sh")]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def give(path: Path, user: str) -> None:
    if os.geteuid() == 0:
        uid, _, gid = user.partition(":")
        os.chown(path, int(uid), int(gid))
