"""The Helm chart, rendered by Helm: valid for Kubernetes, and in agreement with the code, the image and Compose."""

import json
import re
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from api import health, server
from orchestrator.cli.app import app
from orchestrator.settings import _FOREIGN_SECRETS, PREFIX, Settings, load_settings
from tests.deploy import support
from tests.deploy.chart import (
    BUCKET,
    CHART,
    DEFINITION,
    EVERYTHING,
    GIVEN,
    VALUES,
    VOLUME,
    container,
    helm_python,
    linted,
    mebibytes,
    objects,
    pods,
    rendered,
    secrets,
    variables,
)
from tests.deploy.support import ROOT, Json
from tests.deploy.test_dockerfile import PROJECT, said

COMPONENTS = ("migrate", "api", "worker")
KNOWN = {PREFIX + name.upper() for name in Settings.model_fields}
# The oldest release of Kubernetes that the chart says it runs on, and the newest with a schema.
RELEASES = (DEFINITION["kubeVersion"].removeprefix(">=").removesuffix("-0"), kubernetes_validate.latest_version())

every_way = pytest.mark.parametrize("values", GIVEN.values(), ids=GIVEN.keys())


@every_way
@pytest.mark.parametrize("release", RELEASES)
def test_every_manifest_is_one_that_kubernetes_takes(values: Json, release: str) -> None:
    manifests = rendered(values)
    for manifest in manifests:
        kubernetes_validate.validate(manifest, release, strict=True)
    kinds = {manifest["kind"] for manifest in manifests}
    usual = {"Deployment", "Job", "Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount"}
    assert kinds == usual | ({"Ingress"} if "ingress" in values else set())


@every_way
def test_helm_has_no_complaint(values: Json) -> None:
    assert linted(values) == []


def test_the_schemas_are_looked_at() -> None:
    (broken,) = (manifest for _, manifest in objects(rendered(BUCKET), "Service"))
    broken["spec"]["ports"][0]["prot"] = 80
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, RELEASES[-1], strict=True)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"existingSecret": ""}, "name the Secret"),
        ({"temporal": {"address": ""}}, "name the Temporal server"),
        ({"temporal": {"address": "temporal"}}, "/temporal/address"),
        ({"store": {"url": ""}}, "either store.url or data.existingClaim"),
        ({"data": {"existingClaim": "results"}}, "either store.url or data.existingClaim"),
        ({"store": {"url": "ftp://warehouse"}}, "/store/url"),
        ({"database": {"url": "postgresql://matview:secret@postgres/matview"}}, "/database/url"),
        ({"database": {"url": "postgresql://postgres/matview?password=secret"}}, "/database/url"),
        ({"settings": {"PGPASSWORD": "secret"}}, "invalid propertyName 'PGPASSWORD'"),
        ({"worker": {"settings": {"MATVIEW_QUERY_THREADS": 2}}}, "/worker/settings/MATVIEW_QUERY_THREADS"),
        ({"worker": {"replica": 2}}, "invalid propertyName 'replica'"),
        ({"ingress": {"enabled": True}}, "/ingress/host"),
        ({"unknown": 1}, "'unknown' not allowed"),
    ],
)
def test_values_that_would_not_work_are_refused_by_a_sentence_that_names_them(change: Json, complaint: str) -> None:
    with pytest.raises(helm_python.HelmError, match=complaint):
        rendered(BUCKET | change)


def test_the_chart_is_the_release_that_it_deploys() -> None:
    assert DEFINITION["appVersion"] == PROJECT["project"]["version"]
    assert {container(pod)["image"] for pod in pods(rendered(BUCKET)).values()} == {support.services()["api"]["image"]}
    (pinned,) = {container(pod)["image"] for pod in pods(rendered(EVERYTHING)).values()}
    assert pinned == f"registry.example.com/matview@sha256:{'a' * 64}"


@every_way
def test_every_container_runs_a_command_of_the_program_as_the_user_of_the_image(values: Json) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined] # a group, as it has several
    (user,) = said("USER")
    found = pods(rendered(values))
    assert set(found) == set(COMPONENTS)
    for name, pod in found.items():
        assert container(pod)["args"] == [name]
        assert name in commands
        assert "command" not in container(pod), "the entry point of the image is the program"
        security = pod["securityContext"]
        assert f"{security['runAsUser']}:{security['runAsGroup']}" == user
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}


@every_way
def test_a_pod_has_no_more_rights_than_it_needs(values: Json) -> None:
    for pod in pods(rendered(values)).values():
        assert container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(pod)
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
        assert container(pod)["resources"]["limits"]["memory"]
        assert all(volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume)


@every_way
def test_no_variable_of_a_pod_is_a_service_of_the_namespace(values: Json) -> None:
    """Kubernetes sets MATVIEW_API_PORT to tcp://… for a Service matview-api: a setting of that name, and no port."""
    assert all(pod["enableServiceLinks"] is False for pod in pods(rendered(values)).values())


def test_the_first_process_of_a_container_that_stays_takes_leave_of_orphans() -> None:
    found = pods(rendered(BUCKET))
    assert all(found[name]["shareProcessNamespace"] is True for name in ("api", "worker"))
    assert all(support.services()[name]["init"] is True for name in ("api", "worker"))


@every_way
@pytest.mark.parametrize("name", COMPONENTS)
def test_the_program_accepts_the_variables_of_a_container(
    values: Json, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = pods(rendered(values))[name]
    given = variables(pod)
    named = [one["name"] for one in container(pod)["env"]]
    assert len(named) == len(set(named))
    assert {one for one in named if one.startswith(PREFIX)} <= KNOWN
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    found = load_settings(_env_file=None)
    assert found.store == (values.get("store", {}).get("url") if name != "migrate" else None)


def test_a_variable_of_one_component_goes_before_that_of_all_and_both_before_the_chart() -> None:
    values = BUCKET | {
        "settings": {"MATVIEW_LOG_LEVEL": "DEBUG", "MATVIEW_METRICS_PORT": "1"},
        "worker": {"settings": {"MATVIEW_LOG_LEVEL": "ERROR"}},
    }
    found = {name: variables(pod) for name, pod in pods(rendered(values)).items()}
    assert {name: given["MATVIEW_LOG_LEVEL"] for name, given in found.items()} == {
        "migrate": "DEBUG",
        "api": "DEBUG",
        "worker": "ERROR",
    }
    assert {given["MATVIEW_METRICS_PORT"] for given in found.values()} == {"1"}


def test_every_setting_that_the_values_name_is_one_of_the_program() -> None:
    assert set(re.findall(rf"{PREFIX}[A-Z_]*[A-Z]", (CHART / "values.yaml").read_text())) <= KNOWN


def test_no_secret_is_in_the_chart_and_each_component_gets_those_that_it_needs() -> None:
    found = {name: secrets(pod) for name, pod in pods(rendered(BUCKET)).items()}
    store = {"MATVIEW_STORE_ACCESS_KEY_ID", "MATVIEW_STORE_SECRET_ACCESS_KEY"}
    both = {"PGPASSWORD", "TEMPORAL_API_KEY"} | store
    assert set(found["migrate"]) == {"PGPASSWORD"}
    assert set(found["api"]) == both | {"MATVIEW_SECRET_KEY"}
    assert set(found["worker"]) == both | {"MATVIEW_WEBHOOK_URL", "MATVIEW_WEBHOOK_SECRET"}
    for component in found.values():
        for name, key in component.items():
            assert key == {"name": "matview-secrets", "key": name, "optional": name != "PGPASSWORD"}
            assert name in KNOWN | set(_FOREIGN_SECRETS)
    schema = json.loads((CHART / "values.schema.json").read_text())
    refused = set(schema["definitions"]["variables"]["propertyNames"]["not"]["enum"])
    assert refused == set().union(*found.values())
    assert not [manifest for manifest in rendered(EVERYTHING) if manifest["kind"] == "Secret"]


def test_the_api_is_asked_where_it_answers() -> None:
    manifests = rendered(BUCKET)
    api = container(pods(manifests)["api"])
    ports = {one["name"]: one["containerPort"] for one in api["ports"]}
    given = variables(pods(manifests)["api"])
    assert ports == {"http": int(given["MATVIEW_API_PORT"]), "metrics": int(given["MATVIEW_METRICS_PORT"])}
    paths = {route.path for route in health.router.routes if hasattr(route, "path")}
    probes = {name: api[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/readyz",
        "readiness": "/livez",
        "liveness": "/livez",
    }
    assert {probe["path"] for probe in probes.values()} == paths
    assert {probe["port"] for probe in probes.values()} == {"http"}
    ((_, service),) = objects(manifests, "Service")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]


def test_a_worker_is_ready_while_its_file_is_there() -> None:
    worker = pods(rendered(BUCKET))["worker"]
    assert container(worker)["readinessProbe"]["exec"]["command"] == [
        "test",
        "-f",
        variables(worker)["MATVIEW_READY_FILE"],
    ]
    assert not {"livenessProbe", "startupProbe"} & set(container(worker))


def test_a_pod_has_the_time_that_its_process_takes_to_end() -> None:
    found = pods(rendered(BUCKET))
    sleep = container(found["api"])["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert found["api"]["terminationGracePeriodSeconds"] >= sleep + server._SHUTDOWN_SECONDS + 10
    within = support.services()["worker"]["stop_grace_period"]
    assert f"{found['worker']['terminationGracePeriodSeconds']}s" == within


@every_way
def test_all_that_a_process_writes_to_is_a_volume(values: Json) -> None:
    for name, pod in pods(rendered(values)).items():
        given = variables(pod)
        mounted = {one["mountPath"]: one for one in container(pod)["volumeMounts"]}
        assert {one["name"] for one in mounted.values()} == {volume["name"] for volume in pod["volumes"]}
        assert set(mounted) >= {"/tmp"}  # noqa: S108 - the container's own
        files = {given.get("MATVIEW_READ_TEMP_DIR", "/tmp"), given.get("MATVIEW_READY_FILE", "/tmp")}  # noqa: S108
        assert {path.split("/")[1] for path in files} == {"tmp"}
        if name != "migrate":
            assert given["MATVIEW_DATA_DIR"] in mounted
            roots = json.loads(given.get("MATVIEW_SOURCE_ROOTS", "[]"))
            assert all(mounted[root]["readOnly"] for root in roots)
            assert bool(roots) == ("sources" in values)


def test_results_in_a_volume_are_in_one_that_all_pods_share_and_only_workers_write_to() -> None:
    found = pods(rendered(VOLUME))
    shared = {name: _volume(found[name], "data") for name in ("api", "worker")}
    assert shared["api"] == {"name": "data", "persistentVolumeClaim": {"claimName": "results", "readOnly": True}}
    assert shared["worker"] == {"name": "data", "persistentVolumeClaim": {"claimName": "results"}}
    mounts = container(found["api"])["volumeMounts"]
    assert {one["name"] for one in mounts if one.get("readOnly")} == {"data", "sources"}


def test_what_a_workers_queries_may_take_fits_into_its_pod() -> None:
    worker = pods(rendered(BUCKET))["worker"]
    given, limits = variables(worker), container(worker)["resources"]["limits"]
    queries = int(given["MATVIEW_MAX_CONCURRENT_QUERIES"]) + 1
    assert int(given["MATVIEW_QUERY_MEMORY_MB"]) * queries <= int(given["MATVIEW_WORKER_MEMORY_MB"])
    assert int(given["MATVIEW_WORKER_MEMORY_MB"]) + queries * 200 + 300 <= mebibytes(limits["memory"])
    disk = (int(given["MATVIEW_QUERY_TEMP_DISK_MB"]) + int(given["MATVIEW_QUERY_OUTPUT_MB"])) * queries
    scratch = mebibytes(_volume(worker, "data")["emptyDir"]["sizeLimit"])
    assert disk <= scratch <= mebibytes(limits["ephemeral-storage"])


def test_what_clients_read_fits_into_the_pod_of_the_api() -> None:
    api = pods(rendered(BUCKET))["api"]
    given, limits = variables(api), container(api)["resources"]["limits"]
    reads = int(given["MATVIEW_CONCURRENT_READS"])
    assert reads * (int(given["MATVIEW_READ_MEMORY_MB"]) + 150) + 300 <= mebibytes(limits["memory"])
    scratch = mebibytes(_volume(api, "tmp")["emptyDir"]["sizeLimit"])
    assert reads * int(given["MATVIEW_QUERY_TEMP_DISK_MB"]) <= scratch <= mebibytes(limits["ephemeral-storage"])


@every_way
def test_services_budgets_and_policies_choose_the_pods_of_their_component(values: Json) -> None:
    manifests = rendered(values)
    labels = {name: one["spec"]["template"]["metadata"]["labels"] for name, one in objects(manifests, "Deployment")}
    labels |= {name: one["spec"]["template"]["metadata"]["labels"] for name, one in objects(manifests, "Job")}
    chosen: list[tuple[str, Json]] = [(name, one["spec"]["selector"]) for name, one in objects(manifests, "Service")]
    chosen += [(n, one["spec"]["selector"]["matchLabels"]) for n, one in objects(manifests, "PodDisruptionBudget")]
    chosen += [(n, one["spec"]["podSelector"]["matchLabels"]) for n, one in objects(manifests, "NetworkPolicy")]
    chosen += [(n, one["spec"]["selector"]["matchLabels"]) for n, one in objects(manifests, "Deployment")]
    assert len(chosen) == 1 + 2 + 3 + 2
    for name, selector in chosen:
        assert {component for component in labels if selector.items() <= labels[component].items()} == {name}


def ports_towards(policy: Json) -> list[tuple[int, bool]]:
    """The ports that may be reached, and whether only some peers may."""
    return [(port["port"], "to" in rule) for rule in policy["spec"]["egress"] for port in rule["ports"]]


def test_a_pod_reaches_its_servers_and_nothing_else() -> None:
    found = dict(objects(rendered(BUCKET), "NetworkPolicy"))
    dns, postgres, temporal, store = [(53, False), (53, False)], (5432, False), (7233, False), (443, False)
    assert ports_towards(found["migrate"]) == [*dns, postgres]
    assert ports_towards(found["api"]) == ports_towards(found["worker"]) == [*dns, postgres, temporal, store]
    assert "ingress" not in found["worker"]["spec"]
    assert [rule["ports"][0]["port"] for rule in found["api"]["spec"]["ingress"]] == [8000]
    assert all(set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"} for policy in found.values())
    in_files = dict(objects(rendered(VOLUME), "NetworkPolicy"))
    assert ports_towards(in_files["worker"]) == [*dns, postgres, temporal]


def test_peers_of_a_policy_are_those_that_are_given() -> None:
    found = dict(objects(rendered(EVERYTHING), "NetworkPolicy"))
    servers = [(53, False), (53, False), (5432, True), (7233, False), (9000, True), (4318, False)]
    assert ports_towards(found["api"]) == servers
    assert ports_towards(found["worker"]) == [*servers, (443, False)]
    assert [rule["ports"][0]["port"] for rule in found["worker"]["spec"]["ingress"]] == [9464]
    assert rendered(EVERYTHING | {"networkPolicy": {"enabled": False}}) == [
        one for one in rendered(EVERYTHING) if one["kind"] != "NetworkPolicy"
    ]


def test_the_schema_is_migrated_before_anything_of_the_release_is_there() -> None:
    ((_, job),) = objects(rendered(BUCKET), "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    made = {one["metadata"]["name"] for one in rendered(BUCKET) if one["kind"] in {"ServiceAccount", "ConfigMap"}}
    assert not any(name in json.dumps(job["spec"]["template"]["spec"]) for name in [f'"{one}"' for one in made])


def test_the_values_are_those_of_compose_where_both_say_something() -> None:
    for name in ("api", "worker"):
        own, compose = VALUES[name]["settings"], support.environment(support.services()[name])
        assert own.items() & compose.items() == {(key, value) for key, value in own.items() if key in compose}


def test_the_chart_is_as_the_documentation_installs_it() -> None:
    page = (ROOT / "docs/deploying.md").read_text().partition("## Kubernetes\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    values: Any = yaml.safe_load(block)
    assert linted(values) == []
    assert len(rendered(values)) == len(rendered(BUCKET)) + ("ingress" in values)
    assert re.search("helm upgrade --install .* matview deploy/helm/matview\n", page)


def _volume(pod: Json, name: str) -> Json:
    (found,) = (one for one in pod["volumes"] if one["name"] == name)
    return dict(found)
