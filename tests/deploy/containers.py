"""Runs the services of docker-compose.yml that are made of this repository's image as containers of Docker or Podman.

The containers use the network of this machine, where PostgreSQL and Temporal run as processes. All else is as the file
has it: user, read-only root, capabilities, limits, mounts, temporary file systems, variables, health checks.
"""

import asyncio
import os
import re
import subprocess
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from orchestrator.devstack.logs import Log
from orchestrator.devstack.processes import run_once, spawn
from tests.deploy.machine import Machine, is_ours, log_of
from tests.deploy.support import ROOT, Json, environment, mounts

ENGINES = ("docker", "podman")
_SOURCES = "/srv/sources"
# A check is a process in the container, which takes processor time from what it waits for.
_BETWEEN_CHECKS = 0.5
# Three containers and their checks on two processors that work for others too were seen to take 43 seconds.
_PATIENCE = 180.0


@dataclass(frozen=True)
class Sizes:
    """Bytes of an image: on the disk, and packed as it is sent from a registry."""

    unpacked: int
    packed: int


def build(engine: str, image: str) -> None:
    """Build the Dockerfile. Raises CalledProcessError if it fails."""
    subprocess.run([engine, "build", "--tag", image, "."], cwd=ROOT, check=True)


def measure(engine: str, image: str) -> Sizes:
    """The sizes of an image. Registries pack each layer with gzip; here all layers are packed as one."""
    shown = subprocess.run([engine, "image", "inspect", "--format={{.Size}}", image], capture_output=True, check=True)
    packer, packed = zlib.compressobj(6), 0
    with subprocess.Popen([engine, "image", "save", image], stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        while block := saving.stdout.read(2**20):
            packed += len(packer.compress(block))
    assert saving.returncode == 0
    return Sizes(int(shown.stdout), packed + len(packer.flush()))


def compiled_at_start(engine: str, image: str) -> list[str]:
    """The modules that a process of the image would have to compile each time that it starts."""
    loading = ["python", "-v", "-c", "import api.app, orchestrator.worker, orchestrator.engines.duckdb.child.main"]
    command = [engine, "run", "--rm", "--network=none", "--entrypoint=", image, *loading]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert "code object from '" in said, said[-3000:]
    return re.findall(r"^# code object from (/.*\.py)$", said, flags=re.MULTILINE)


def limits(service: Json) -> Iterator[str]:
    """The options of `run` for all that Compose holds a container to."""
    yield from ("--user", service["user"])
    yield from (f"--cap-drop={one}" for one in service["cap_drop"])
    yield from (f"--security-opt={one.removesuffix(':true')}" for one in service["security_opt"])
    yield from (f"--tmpfs={one}" for one in service["tmpfs"])
    yield from (f"--{name.replace('_', '-')}" for name in ("read_only", "init") if service[name])
    if "cpu_shares" in service:
        yield f"--cpu-shares={service['cpu_shares']}"
    most = service["deploy"]["resources"]["limits"]
    yield from (f"--memory={most['memory']}", f"--cpus={most['cpus']}", f"--pids-limit={most['pids']}")


@dataclass
class Containers(Machine):
    """A machine on which the API, the workers and `migrate` are containers."""

    engine: str = "docker"
    image: str = ""
    ready: dict[str, float] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)

    def can_be(self, service: Json) -> bool:
        """Whether the user of a container can read here all that its process needs: the image's can in the image."""
        return is_ours(service) or super().can_be(service)

    def here(self, text: str, instance: str) -> str:
        """A word of the file, with the addresses of this machine in it; the folders are the containers' own."""
        return self.reachable(text) if self.is_contained(instance) else super().here(text, instance)

    def source(self, name: str) -> str:
        """The path of a source file as the API and the workers see it."""
        return f"{_SOURCES}/{name}"

    async def run(self, name: str, *argv: str) -> str:
        """Run a command in the container of a service, or in one of its own if none runs. Returns its output."""
        if not self.is_contained(name):
            return await super().run(name, *argv)
        running = [instance for instance in self.running if service_of(instance) == name]
        log = Log(self.path("log") / f"{name}-{time.monotonic_ns()}.log")
        command = [self.engine, "exec", self.named(running[0]), *argv] if running else self._command(name, name, argv)
        await run_once(name, command, log, self.surroundings(name))
        return log.path.read_text()

    async def start(self, name: str, instance: str, argv: Sequence[str]) -> None:
        """Start a container, or a process in place of one."""
        if not self.is_contained(name):
            await super().start(name, instance, argv)
            return
        log = Log(self.path("log") / f"{instance}.log")
        self.mark(instance)
        command = self._command(name, instance, argv)
        self.running[instance] = await spawn(command, log, self.surroundings(name, instance))

    def mark(self, instance: str) -> None:
        """Remember when a container was asked for."""
        self.began[instance] = time.monotonic()

    async def healthy(self, name: str, instance: str, test: Sequence[str] | None = None) -> None:
        """Wait until the health check of a container succeeds, and keep how long that took."""
        if not self.is_contained(name):
            await super().healthy(name, instance, test)
            return
        _, *argv = (self.here(word, instance) for word in self.services[name]["healthcheck"]["test"])
        log = Log(self.path("log") / f"{instance}-health.log")
        while time.monotonic() < self.began[instance] + _PATIENCE:
            assert self.running[instance].returncode is None, log_of(self, instance)
            check = await spawn([self.engine, "exec", self.named(instance), *argv], log, os.environ)
            if await check.wait() == 0:
                self.ready[instance] = time.monotonic() - self.began[instance]
                return
            await asyncio.sleep(_BETWEEN_CHECKS)
        raise AssertionError(f"{instance} did not become healthy: {log_of(self, instance)}")

    async def stop(self, instance: str) -> int:
        """Stop as `docker compose stop` does. Returns the exit status."""
        process = self.running.pop(instance)
        within = self.grace(instance)
        stop = [self.engine, "stop", "-t", str(within), self.named(instance)]
        await run_once("stop", stop, Log(self.path("log") / "stop.log"), os.environ)
        return await asyncio.wait_for(process.wait(), within)

    async def end(self) -> None:
        """Remove all containers that still run, and the volume; kill all processes."""
        left = [self.named(instance) for instance in self.running if self.is_contained(service_of(instance))]
        for command in (["rm", "--force", *left], ["volume", "rm", "--force", self.named("store")]):
            ending = await spawn([self.engine, *command], Log(self.path("log") / "end.log"), os.environ)
            await ending.wait()
        await super().end()

    def is_contained(self, instance: str) -> bool:
        """Whether it is a container here, and no process."""
        return is_ours(self.services[service_of(instance)])

    def named(self, instance: str) -> str:
        """The name that the engine knows a container or a volume by."""
        return f"{self.folder.name}-{instance}"

    def surroundings(self, name: str, instance: str | None = None) -> dict[str, str]:
        """The environment of the engine's command, from which it passes on that of the container: no secret in argv."""
        own = self.variables(name, instance)
        return {**os.environ, **{key: value for key, value in own.items() if key not in {"PATH", "HOME"}}}

    def _command(self, name: str, instance: str, argv: Sequence[str]) -> list[str]:
        service = self.services[name]
        places = {"store": self.named("store")}
        volumes = [
            f"--volume={places.get(source, source)}:{target}{'' if writable else ':ro'}"
            for target, (source, writable) in mounts(service).items()
        ]
        given = sorted({*environment(service), *(key for key in self.given if key in service["environment"])})
        return [
            *(self.engine, "run", "--rm", "--pull=never", "--network=host", f"--name={self.named(instance)}"),
            *(*limits(service), *volumes, *(f"--env={key}" for key in given)),
            *(self.image, *argv[1:]),
        ]


def service_of(instance: str) -> str:
    """The service of a container, of which there may be several."""
    return instance.rstrip("0123456789")
