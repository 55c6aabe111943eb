"""Runs the pods of the Helm chart with Podman, which reads the manifests of Kubernetes, without a cluster."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.devstack.home import StackError
from orchestrator.devstack.logs import Log
from orchestrator.devstack.ports import LOOPBACK
from orchestrator.devstack.processes import run_once, spawn
from tests.deploy.chart import container, pods, rendered, secrets
from tests.deploy.containers import Containers, service_of
from tests.deploy.support import Json

_PROBES = ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle", "ports")


@dataclass
class Pods(Containers):
    """A machine on which the API, the workers and the migration are pods of the chart, with results in a bucket.

    A pod is the chart's, except that it uses the network of this machine, has the values of its Secret, and finds the
    files of source tables in a folder. Kubernetes itself makes its probes; here the health checks of Compose do.
    """

    def named(self, instance: str) -> str:
        """The name that the engine knows a container by."""
        return f"{self._pod_of(instance)}-{service_of(instance)}"

    async def run(self, name: str, *argv: str) -> str:
        """Run a command in the pod of a component, or the whole pod to its end if it is not there yet."""
        if not self.is_contained(name) or any(service_of(instance) == name for instance in self.running):
            return await super().run(name, *argv)
        log = await self._play(name, name)
        status = await self._said("wait", self.named(name))
        log.path.write_text(await self._said("logs", self.named(name)))
        await self._said("pod", "rm", "--force", self._pod_of(name))
        if status != "0":
            raise StackError(f"{name} ended with status {status}: {log.path.read_text()}")
        return log.path.read_text()

    async def start(self, name: str, instance: str, argv: Sequence[str]) -> None:
        """Start a pod, or a process in place of one."""
        if not self.is_contained(name):
            await super().start(name, instance, argv)
            return
        self.mark(instance)
        log = await self._play(name, instance)
        self.running[instance] = await spawn([self.engine, "logs", "--follow", self.named(instance)], log, os.environ)

    async def stop(self, instance: str) -> int:
        """Stop as Kubernetes does. Returns the exit status."""
        await super().stop(instance)
        return int(await self._said("inspect", "--format={{.State.ExitCode}}", self.named(instance)))

    async def end(self) -> None:
        """Remove all pods and their volumes; kill all processes."""
        made = [self._pod_of(path.stem) for path in self.folder.glob("*.pod")]
        volumes = [f"{pod}-{name}" for pod in made for name in ("data", "tmp")]
        for command in (["pod", "rm", "--force", "--ignore", *made], ["volume", "rm", "--force", *volumes]):
            ending = await spawn([self.engine, *command], Log(self.path("log") / "end.log"), os.environ)
            await ending.wait()
        await super().end()

    def grace(self, instance: str) -> int:
        """How many seconds a pod has between the signal to stop and the one to die."""
        seconds: int = self._specification(service_of(instance))["terminationGracePeriodSeconds"]
        return seconds

    def _pod_of(self, instance: str) -> str:
        return f"{self.folder.name}-{instance}"

    def _specification(self, component: str) -> Json:
        repository, _, tag = self.image.rpartition(":")
        return pods(rendered(self._values(repository, tag)))[component]

    def _values(self, repository: str, tag: str) -> Json:
        store = {name: self.given[f"MATVIEW_STORE_{name.upper()}"] for name in ("endpoint", "region")}
        database = f"postgresql://matview@{LOOPBACK}:{self.ports['postgres']}/matview"
        return {
            "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
            "existingSecret": "values",
            "database": {"url": database, "port": self.ports["postgres"]},
            "temporal": {"address": f"{LOOPBACK}:{self.ports['temporal']}"},
            "store": {"url": self.given["MATVIEW_STORE"], **store},
            "sources": {"existingClaim": "sources"},
        }

    def _manifest(self, component: str, instance: str) -> Json:
        pod, here = self._specification(component), self.variables(component, instance)
        own = container(pod)
        values: dict[str, str | None] = {one["name"]: one.get("value") for one in own["env"]}
        here_only = {"MATVIEW_API_HOST", "MATVIEW_API_PORT", "MATVIEW_METRICS_PORT", *secrets(pod)}
        values |= {name: here.get(name) for name in here_only & values.keys()}
        own["env"] = [{"name": name, "value": value} for name, value in values.items() if value is not None]
        for name in _PROBES:
            own.pop(name, None)
        for kind in own["resources"].values():  # which Podman does not know
            kind.pop("ephemeral-storage", None)
        for one in [*pod["volumes"], *own["volumeMounts"]]:
            one["name"] = f"{self._pod_of(instance)}-{one['name']}"
        for volume in pod["volumes"]:
            if "persistentVolumeClaim" in volume:
                volume.pop("persistentVolumeClaim")
                volume["hostPath"] = {"path": str(self.path("sources")), "type": "Directory"}
        pod |= {"hostNetwork": True, "restartPolicy": "Never", "containers": [own]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self._pod_of(instance)}, "spec": pod}

    async def _play(self, component: str, instance: str) -> Log:
        path = self.path(f"{instance}.pod")
        path.touch(mode=0o600)
        path.write_text(json.dumps(self._manifest(component, instance)))
        await self._said("kube", "play", "--network=host", str(path))
        return Log(self.path("log") / f"{instance}.log")

    async def _said(self, *argv: Any) -> str:
        log = Log(self.path("log") / f"podman-{len(list(Path(self.path('log')).iterdir()))}.log")
        await run_once(argv[0], [self.engine, *argv], log, os.environ)
        return log.path.read_text().strip()
