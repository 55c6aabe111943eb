"""Renders the Helm chart as Helm does, without a cluster."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.support import ROOT, Json

helm_python = pytest.importorskip("helm_python", reason="there is no wheel of Helm for this machine")

CHART = ROOT / "deploy/helm/matview"
VALUES: Json = yaml.safe_load((CHART / "values.yaml").read_text())
DEFINITION: Json = yaml.safe_load((CHART / "Chart.yaml").read_text())

# The least that must be given, with results in a bucket.
BUCKET: Json = {
    "existingSecret": "matview-secrets",
    "temporal": {"address": "temporal-frontend.temporal:7233"},
    "store": {"url": "s3://warehouse/matview", "region": "eu-central-1"},
}
# With results and sources in volumes.
VOLUME: Json = {
    "existingSecret": "matview-secrets",
    "temporal": {"address": "temporal-frontend.temporal:7233"},
    "data": {"existingClaim": "results"},
    "sources": {"existingClaim": "sources"},
}
# With all that can be given.
EVERYTHING: Json = BUCKET | {
    "image": {"repository": "registry.example.com/matview", "digest": f"sha256:{'a' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "store": {"url": "s3://warehouse/matview", "endpoint": "http://minio.storage:9000", "port": 9000},
    "serviceAccount": {"annotations": {"example.com/role": "matview"}},
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/matview", "readOnly": True}],
    "api": {
        "publicUrl": "https://matview.example.com",
        "trustedProxies": ["10.0.0.0/8"],
        "nodeSelector": {"disk": "ssd"},
        "podAnnotations": {"example.com/team": "data"},
    },
    "worker": {
        "replicas": 5,
        "tolerations": [{"key": "queries", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
    },
    "service": {"annotations": {"example.com/balancer": "internal"}},
    "ingress": {
        "enabled": True,
        "className": "public",
        "host": "matview.example.com",
        "tlsSecret": "matview-tls",
        "annotations": {"example.com/timeout": "60s"},
    },
    "networkPolicy": {
        "database": [{"podSelector": {"matchLabels": {"app": "postgres"}}}],
        "store": [{"ipBlock": {"cidr": "10.9.0.0/16"}}],
        "prometheus": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "extraEgress": [{"ports": [{"protocol": "TCP", "port": 4318}]}],
        "webhook": True,
    },
}
GIVEN = {"bucket": BUCKET, "volume": VOLUME, "everything": EVERYTHING}


def rendered(values: Json, path: Path = CHART) -> list[Json]:
    """The manifests of a release `m`. Raises HelmError for values that the chart refuses."""
    with helm_python.Chart.load(path) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name="m", namespace="analytics")
    texts = (text for name, text in files.items() if name.endswith(".yaml"))
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


def linted(values: Json) -> list[str]:
    """The complaints of `helm lint --strict`."""
    report: Json = helm_python.lint(CHART, values, strict=True)
    errors: list[str] = report["errors"]
    return errors


def pods(manifests: list[Json]) -> dict[str, Json]:
    """For each component: the specification of its pods."""
    return {
        manifest["metadata"]["labels"]["app.kubernetes.io/component"]: manifest["spec"]["template"]["spec"]
        for manifest in manifests
        if manifest["kind"] in {"Deployment", "Job"}
    }


def container(pod: Json) -> Json:
    """The only container of a pod."""
    (found,) = pod["containers"]
    return dict(found)


def variables(pod: Json) -> dict[str, str]:
    """The variables of a container that have a value in the chart."""
    return {one["name"]: one["value"] for one in container(pod)["env"] if "value" in one}


def secrets(pod: Json) -> dict[str, Json]:
    """The variables of a container that come from the Secret."""
    found = (one for one in container(pod)["env"] if "valueFrom" in one)
    return {one["name"]: one["valueFrom"]["secretKeyRef"] for one in found}


def objects(manifests: list[Json], kind: str) -> Iterator[tuple[str, Json]]:
    """The manifests of a kind, by their component."""
    for manifest in manifests:
        if manifest["kind"] == kind:
            yield manifest["metadata"]["labels"]["app.kubernetes.io/component"], manifest


def mebibytes(quantity: Any) -> int:
    """A quantity like 50Gi."""
    number, unit = str(quantity)[:-2], str(quantity)[-2:]
    return int(number) * {"Mi": 1, "Gi": 1024, "Ti": 1024**2}[unit]
