"""Reads the files of a deployment as Docker Compose and the other programs read them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
WEBHOOK = ROOT / "deploy/webhook.yml"
OBJECT_STORE = ROOT / "deploy/object-store.yml"
REMOTE_SOURCES = ROOT / "deploy/remote-sources.yml"
EXAMPLE = ROOT / "deploy/compose.env.example"

Json = dict[str, Any]

_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def what_must_be_given() -> dict[str, str]:
    """The variables that the example leaves empty for the operator, with a value for each."""
    names = re.findall(r"^(\w+)=$", EXAMPLE.read_text(), flags=re.MULTILINE)
    # One value that is valid as a password, as a key and as a path, which no test reads.
    return dict.fromkeys(names, f"/{'A' * 42}=")


def raw(path: Path) -> Json:
    read: Json = yaml.safe_load(path.read_text())
    return read


def services(path: Path = COMPOSE, variables: Mapping[str, str] | None = None) -> Json:
    """The services, with variables replaced. Raises KeyError for a variable that Compose requires."""
    given = what_must_be_given() if variables is None else variables
    found: Json = _filled(raw(path)["services"], given)
    return found


def demanded(path: Path) -> set[str]:
    return {name for name, kind, _ in _VARIABLE.findall(path.read_text()) if kind == "?"}


def defaults(path: Path) -> dict[str, str]:
    return {name: value for name, kind, value in _VARIABLE.findall(path.read_text()) if kind == "-"}


def handed_on(path: Path) -> set[str]:
    """The variables of containers that get their values from the shell or .env, if set there."""
    return {
        name
        for service in raw(path)["services"].values()
        for name, value in service.get("environment", {}).items()
        if value is None
    }


def environment(service: Json) -> dict[str, str]:
    """The environment of a container when .env has only the required variables."""
    return {name: value for name, value in service.get("environment", {}).items() if value is not None}


def mounts(service: Json) -> dict[str, tuple[str, bool]]:
    """For each path in the container: the source that is mounted there, and whether it is writable."""
    found = {}
    for volume in service.get("volumes", []):
        if isinstance(volume, str):
            source, target, *mode = volume.split(":")
            found[target] = (source, mode != ["ro"])
        else:
            found[volume["target"]] = (volume["source"], not volume.get("read_only"))
    return found


def tmpfs(service: Json) -> set[str]:
    return {one.split(":")[0] for one in service.get("tmpfs", [])}


def megabytes(size: str) -> int:
    return int(size[:-1]) * {"m": 1, "g": 1024}[size[-1]]


def _filled(value: Any, given: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, given) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, given) for inner in value]
    return _VARIABLE.sub(lambda found: _chosen(found, given), value) if isinstance(value, str) else value


def _chosen(found: re.Match[str], given: Mapping[str, str]) -> str:
    name, kind, rest = found.groups()
    return given[name] if kind != "-" else given.get(name) or rest
