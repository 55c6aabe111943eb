"""No test runs a container. So these compare docker-compose.yml with the code wherever the two must agree."""

import ast
import re
import subprocess
import tomllib
from typing import Any

import pytest
import typer

from api import health, server
from orchestrator.cli.app import app
from orchestrator.devstack import temporal as dev_temporal
from orchestrator.settings import PREFIX, Settings, load_settings
from tests.deploy.support import (
    COMPOSE,
    EXAMPLE,
    OBJECT_STORE,
    REMOTE_SOURCES,
    ROOT,
    WEBHOOK,
    Json,
    defaults,
    demanded,
    environment,
    handed_on,
    megabytes,
    mounts,
    raw,
    services,
    tmpfs,
    what_must_be_given,
)

SERVICES = services()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("matview:")}
ONCE = {name for name, service in SERVICES.items() if service["restart"].startswith("on-failure")}

every_service = pytest.mark.parametrize("name", SERVICES)
every_one_of_ours = pytest.mark.parametrize("name", OURS)


def image_version(name: str) -> str:
    version: str = SERVICES[name]["image"].partition(":")[2]
    return version


@every_service
def test_an_image_is_pinned_to_one_release(name: str) -> None:
    assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-[a-z]+)?", image_version(name))


def test_the_images_are_the_releases_that_the_tests_run_with() -> None:
    (postgres,) = (p for p in PROJECT["project"]["optional-dependencies"]["embedded"] if p.startswith("embedded-p"))
    assert postgres.partition("==")[2].startswith(image_version("postgres").partition("-")[0] + ".")
    assert image_version("temporal") == image_version("temporal-schema") == image_version("temporal-namespace")
    assert {image_version(name) for name in OURS} == {PROJECT["project"]["version"]}


@every_service
def test_a_container_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    uid, _, _ = service["user"].partition(":")
    assert int(uid) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices"} & set(service)
    assert "docker.sock" not in str(service)


@every_service
def test_a_container_takes_only_its_share_of_the_machine(name: str) -> None:
    limits = SERVICES[name]["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory", "pids"}
    assert SERVICES[name]["logging"]["options"]["max-size"]


@every_service
def test_a_port_is_open_to_this_machine_only(name: str) -> None:
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in SERVICES[name].get("ports", []))


def test_whoever_is_scaled_has_neither_a_name_nor_a_port_of_its_own() -> None:
    assert not {"ports", "container_name", "hostname", "scale"} & set(SERVICES["worker"])


@pytest.mark.parametrize("path", [COMPOSE, WEBHOOK, OBJECT_STORE, REMOTE_SOURCES], ids=lambda path: path.name)
def test_no_secret_stands_in_the_file(path: Any) -> None:
    secret = re.compile("PASSWORD|PWD|SECRET|_KEY$")
    for name, service in raw(path)["services"].items():
        for variable, value in service.get("environment", {}).items():
            if secret.search(variable) and value is not None:  # without a value it is what .env says, if anything
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", str(value)), f"{name}: {variable}"
    assert not re.search(r"://\w+:[^@/\s]+@", path.read_text()), "a password in a URL"


def test_the_example_file_asks_for_what_is_demanded_and_tells_every_default() -> None:
    assert set(what_must_be_given()) == demanded(COMPOSE)
    reported = dict(re.findall(r"^# (\w+)=(\S*)", EXAMPLE.read_text(), flags=re.MULTILINE))
    passed_on = dict.fromkeys(handed_on(COMPOSE) | demanded(WEBHOOK), "")
    assert reported == defaults(COMPOSE) | passed_on


@pytest.mark.parametrize("name", what_must_be_given())
def test_nothing_starts_without_what_must_be_given(name: str) -> None:
    given = what_must_be_given()
    del given[name]
    with pytest.raises(KeyError, match=name):
        services(variables=given)


@every_one_of_ours
def test_a_command_is_one_of_the_programs_own(name: str) -> None:
    (command,) = OURS[name]["command"]
    group = typer.main.get_command(app)
    assert command in group.commands  # type: ignore[attr-defined] # a group, as it has several


@every_one_of_ours
def test_the_program_accepts_the_variables_of_a_container(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = environment(OURS[name])
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    load_settings(_env_file=None)
    ours = {variable for variable in OURS[name]["environment"] if variable.startswith(PREFIX)}
    assert ours <= {PREFIX + field.upper() for field in Settings.model_fields}


def test_every_setting_is_made_or_handed_on_to_some_container() -> None:
    files = [*OURS.values(), *raw(WEBHOOK)["services"].values()]
    given = {variable for service in files for variable in service["environment"] if variable.startswith(PREFIX)}
    # A container has no file that outlives it; it can have a collector. Its volumes are on no client's disk.
    of_no_use = {"MATVIEW_TRACES_FILE", "MATVIEW_SHARED_DATA_URL"}
    # The image has no client of Spark: a cluster needs the data folder under the path that the workers have.
    of_no_use |= {"MATVIEW_SPARK_REMOTE", "MATVIEW_SPARK_PROJECTS", "MATVIEW_SPARK_QUERIES"}
    assert given == {PREFIX + field.upper() for field in Settings.model_fields} - of_no_use


def test_what_a_workers_queries_may_take_fits_into_its_container() -> None:
    worker = environment(SERVICES["worker"])
    queries = int(worker["MATVIEW_MAX_CONCURRENT_QUERIES"]) + 1
    # 200 MiB for a query's process beside DuckDB's limit; 300 for the worker and the server that forks its children.
    needed = int(worker["MATVIEW_WORKER_MEMORY_MB"]) + queries * 200 + 300
    assert int(worker["MATVIEW_QUERY_MEMORY_MB"]) * queries <= int(worker["MATVIEW_WORKER_MEMORY_MB"])
    assert needed <= megabytes(SERVICES["worker"]["deploy"]["resources"]["limits"]["memory"])


@pytest.mark.parametrize("name", ["api", "worker"])
def test_the_folders_that_a_container_gets_in_its_settings_are_mounted(name: str) -> None:
    found = mounts(SERVICES[name])
    variables = environment(SERVICES[name])
    assert found[variables["MATVIEW_DATA_DIR"]] == ("store", name == "worker")
    (root,) = ast.literal_eval(variables["MATVIEW_SOURCE_ROOTS"])
    assert found[root][1] is False
    assert tmpfs(SERVICES[name]) == {"/tmp"}  # noqa: S108 - the container's own


def test_the_api_is_asked_for_its_health_where_it_answers() -> None:
    api, test = SERVICES["api"], " ".join(SERVICES["api"]["healthcheck"]["test"])
    (port, path) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", test)[0]
    assert path in {route.path for route in health.router.routes if hasattr(route, "path")}
    assert port == environment(api)["MATVIEW_API_PORT"]
    assert [published.rpartition(":")[2] for published in api["ports"]] == [port]
    assert environment(api)["MATVIEW_API_HOST"] == "0.0.0.0"  # noqa: S104 - the container's own


def test_the_api_has_time_to_send_the_answers_that_it_has_begun() -> None:
    assert int(SERVICES["api"]["stop_grace_period"].removesuffix("s")) > server._SHUTDOWN_SECONDS


def test_a_worker_is_healthy_once_it_has_made_its_file_and_a_new_one_finds_none() -> None:
    worker = SERVICES["worker"]
    *_, path = worker["healthcheck"]["test"]
    assert path == environment(worker)["MATVIEW_READY_FILE"]
    assert path.rpartition("/")[0] in tmpfs(worker)


@every_service
def test_who_waits_for_another_waits_for_something_that_comes(name: str) -> None:
    for other, condition in SERVICES[name].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other in ONCE else "service_healthy"
        assert condition == {"condition": wanted}
    assert ("healthcheck" in SERVICES[name]) == (name not in ONCE)


def test_everything_starts_after_what_it_needs() -> None:
    def all_before(name: str) -> set[str]:
        direct = set(SERVICES[name].get("depends_on", {}))
        return direct | {further for other in direct for further in all_before(other)}

    servers = {"postgres", "temporal-schema", "temporal", "temporal-namespace", "migrate"}
    assert all_before("api") == all_before("worker") == servers
    assert all_before("temporal") == {"postgres", "temporal-schema"}


def test_only_what_people_open_is_on_a_network_with_a_way_out() -> None:
    assert raw(COMPOSE)["networks"]["backend"] == {"internal": True}
    outside = {name for name, service in SERVICES.items() if service["networks"] != ["backend"]}
    assert outside == {name for name, service in SERVICES.items() if "ports" in service}
    for more in (WEBHOOK, OBJECT_STORE, REMOTE_SOURCES):
        changed = services(more, dict.fromkeys(demanded(more), "x"))
        assert {name: service["networks"] for name, service in changed.items()} == {"worker": ["backend", "edge"]}


@every_service
def test_every_file_that_is_mounted_is_there(name: str) -> None:
    sources = [source for source, _ in mounts(SERVICES[name]).values()]
    assert [source for source in sources if source.startswith("./") and not (ROOT / source).exists()] == []
    volumes = {source for source in sources if re.fullmatch(r"\w+", source)}
    assert volumes <= set(raw(COMPOSE)["volumes"])


def test_names_agree_between_the_containers_and_the_scripts() -> None:
    roles = (ROOT / "deploy/postgres/roles.sh").read_text()
    made = set(re.findall(r"CREATE DATABASE (\w+) OWNER (\w+)", roles))
    server = environment(SERVICES["temporal"])
    catalog = re.fullmatch(r"postgresql://(\w+)@postgres:5432/(\w+)", environment(OURS["api"])["MATVIEW_DATABASE_URL"])
    assert catalog
    (user, database) = catalog.groups()
    temporal = {(server[name], server["POSTGRES_USER"]) for name in ("DBNAME", "VISIBILITY_DBNAME")}
    assert made == {(database, user)} | temporal
    schema = re.search(r"^for name in (.*);", (ROOT / "deploy/temporal/schema.sh").read_text(), flags=re.MULTILINE)
    assert schema
    assert set(schema[1].split()) == {name for name, _ in temporal}
    assert set(re.findall(r"\\getenv \w+ (\w+)", roles)) <= set(SERVICES["postgres"]["environment"])


def test_all_speak_of_one_temporal_and_one_namespace() -> None:
    namespace = environment(SERVICES["temporal-namespace"])["NAMESPACE"]
    for service in OURS.values():
        assert service["environment"]["MATVIEW_TEMPORAL_NAMESPACE"] == namespace
        assert service["environment"]["MATVIEW_TEMPORAL_ADDRESS"] == "temporal:7233"
    assert environment(SERVICES["temporal-ui"])["TEMPORAL_DEFAULT_NAMESPACE"] == namespace
    assert environment(SERVICES["temporal-ui"])["TEMPORAL_ADDRESS"] == "temporal:7233"
    assert SERVICES["temporal"]["healthcheck"]["test"][-1] == "7233"


def test_the_server_has_the_flags_that_the_embedded_one_has() -> None:
    configured = raw(ROOT / "deploy/temporal/dynamic-config.yml")
    reported = {f"{name}={str(value['value']).lower()}" for name, (value,) in configured.items()}
    of_the_development_server = {"system.forceSearchAttributesCacheRefreshOnRead=false"}
    assert reported == set(dev_temporal._DYNAMIC_CONFIG) - of_the_development_server
    server = SERVICES["temporal"]
    path = environment(server)["DYNAMIC_CONFIG_FILE_PATH"]
    assert mounts(server)[path.rpartition("/")[0]] == ("./deploy/temporal", False)


def test_prometheus_asks_where_the_processes_tell_and_reads_the_rules() -> None:
    configured = raw(ROOT / "deploy/prometheus/prometheus.yml")
    asked: dict[str, str] = {}
    for job in configured["scrape_configs"]:
        for discovery in job.get("dns_sd_configs", []):
            asked |= {name: str(discovery["port"]) for name in discovery["names"]}
        for static in job.get("static_configs", []):
            asked |= dict(target.split(":") for target in static["targets"])
    assert asked.pop("temporal") == environment(SERVICES["temporal"])["PROMETHEUS_ENDPOINT"].partition(":")[2]
    assert asked == {name: environment(OURS[name])["MATVIEW_METRICS_PORT"] for name in ("api", "worker")}
    assert set(configured["rule_files"]) <= set(mounts(SERVICES["prometheus"]))


def test_grafana_finds_its_dashboard_and_its_source() -> None:
    (provider,) = raw(ROOT / "deploy/grafana/dashboards.yml")["providers"]
    folders = {path.rpartition("/")[0] for path in mounts(SERVICES["grafana"])}
    assert provider["options"]["path"] in folders
    (source,) = raw(ROOT / "deploy/grafana/datasources.yml")["datasources"]
    port = SERVICES["prometheus"]["ports"][0].rpartition(":")[2]
    assert source["url"] == f"http://prometheus:{port}"


@pytest.mark.parametrize("path", sorted((ROOT / "deploy").rglob("*.sh")), ids=lambda path: path.name)
def test_a_script_is_one_that_the_shell_can_read(path: Any) -> None:
    assert path.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", path], check=True)


def test_the_health_checks_of_the_others_ask_the_ports_that_are_open() -> None:
    for name in ("temporal-ui", "prometheus", "grafana"):
        service: Json = SERVICES[name]
        asked = re.search(r"http://127\.0\.0\.1:(\d+)/", service["healthcheck"]["test"][-1])
        assert asked
        assert service["ports"][0].rpartition(":")[2] == asked[1]
