"""Finds the installation for a command: named by `--home`, set by the environment, or a `matview dev` nearby."""

import os
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.output import Failure
from orchestrator.devstack.home import DevInfo, Home
from orchestrator.settings import PREFIX

EXIT_USAGE = 2
DEFAULT_HOME = Path(".matview")
_WHERE = ("database_url", "data_dir", "temporal_address", "temporal_namespace", "temporal_ui_url", "source_roots")

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
    if home is None and f"{PREFIX}DATABASE_URL" in os.environ:
        return {}, "the environment"
    found = home or nearest_home()
    info = stack_info(found)
    if info is not None:
        return {name: value for name in _WHERE if (value := str(info.get(name, "")))}, str(found / "dev.json")
    if home is not None:
        raise Failure(f"{home} is no folder of a `matview dev`: there is no dev.json in it", EXIT_USAGE)
    return {}, "the environment and .env"
