"""Finds the installation for a command: named by `--home`, set by the environment, or a `matview dev` nearby."""

import os
from contextvars import ContextVar
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

import typer

from orchestrator.cli.output import Failure, warn
from orchestrator.cli.program import program
from orchestrator.devstack.home import DevInfo, Home
from orchestrator.settings import PREFIX

EXIT_USAGE = 2
DEFAULT_HOME = Path(".matview")
_WHERE = ("database_url", "data_dir", "temporal_address", "temporal_namespace", "temporal_ui_url", "source_roots")
_PORTS = {"http": 80, "https": 443}
_is_verbose: ContextVar[bool] = ContextVar("is_verbose", default=False)

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", help="The folder of a `matview dev`. Without it: the environment, or .matview here or above."
    ),
]


def nearest_home() -> Path:
    """The folder of a stack: `.matview` in the current folder, or in the nearest folder above that has one.

    One above counts only if it belongs to this user. Otherwise any user who may write to `/tmp` could redirect the
    commands of all users who work below it.
    """
    if DEFAULT_HOME.is_dir():
        return DEFAULT_HOME
    for folder in Path.cwd().parents:
        home = folder / DEFAULT_HOME
        try:
            if home.stat().st_uid == os.geteuid() and (home / "dev.json").is_file():
                return home
        except OSError:
            continue
    return DEFAULT_HOME


def stack_info(home: Path) -> DevInfo | None:
    """The contents of a stack's `dev.json`; None if there is none. Raises Failure if it cannot be read."""
    try:
        return Home(home).read_info()
    except OSError as error:
        raise Failure(f"{home / 'dev.json'} cannot be read: {error.strerror}", EXIT_USAGE) from None


def installation(home: Path | None) -> tuple[dict[str, str], str]:
    """The settings that a stack's folder gives, and the name of their source for messages.

    The environment takes precedence over a stack that `--home` does not name.
    """
    found, origin = _installation(home)
    say_used(f"the installation of {origin}")
    return found, origin


def _installation(home: Path | None) -> tuple[dict[str, str], str]:
    if home is None and f"{PREFIX}DATABASE_URL" in os.environ:
        return {}, "the environment"
    found = home or nearest_home()
    info = stack_info(found)
    if info is not None:
        return {name: value for name in _WHERE if (value := str(info.get(name, "")))}, str(found / "dev.json")
    if home is not None:
        raise Failure(f"{home} is no folder of a `matview dev`: there is no dev.json in it", EXIT_USAGE)
    return {}, "the environment and .env"


def folder_of(home: Path) -> Path:
    """The folder in which `matview dev` was started for a stack's folder; or that itself, if it has another name."""
    path = home.expanduser().absolute()
    return path.parent if path.name == DEFAULT_HOME.name else path


def is_running(home: Path) -> bool:
    """Whether the `matview dev` of a stack's folder is alive."""
    return Home(home).owner() is not None


def state_of(home: Path) -> str:
    """Why nothing of a stack answers, and what to do, as the end of a message."""
    pid, folder = Home(home).owner(), folder_of(home)
    if pid is not None:
        return f"the `matview dev` of {folder} runs, pid {pid}: its logs in {home.absolute() / 'logs'} say more"
    where = "" if folder != home.expanduser().absolute() else f" --home {folder}"
    return f"not running: start it with '{program()} dev{where}' in {folder}"


def same_address(one: str, other: str) -> bool:
    """Whether two URLs lead to the same server. All names of this machine's loopback interface are the same."""
    try:
        first, second = urlsplit(one.rstrip("/").lower()), urlsplit(other.rstrip("/").lower())
        return (first.scheme, _host(first), _port(first), first.path) == (
            *(second.scheme, _host(second), _port(second), second.path),
        )
    except ValueError:
        return False


def set_verbose(*, verbose: bool) -> None:
    """Have commands say on standard error which installation they use."""
    _is_verbose.set(verbose)


def say_used(what: str) -> None:
    """Say what a command uses, if that was asked for."""
    if _is_verbose.get():
        warn(f"using {what}")


def _port(url: SplitResult) -> int | None:
    return url.port or _PORTS.get(url.scheme)


def _host(url: SplitResult) -> str:
    host = url.hostname or ""
    try:
        return "localhost" if ip_address(host).is_loopback else host
    except ValueError:
        return host
