"""All that the documentation names exists: pages, headings, pictures, settings, tests, targets of make, commands."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from orchestrator.cli.app import app
from orchestrator.settings import PREFIX, Settings
from tests.docs.pages import PAGES, ROOT, anchors, code, links, named

TESTS = [
    (named(page), *found) for page in PAGES for found in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text())
]
COMMANDS = typer.main.get_command(app)
YAML = sorted([*ROOT.glob("*.yml"), *(ROOT / "deploy").rglob("*.yml"), *(ROOT / "monitoring").rglob("*.yml")])


def test_there_is_something_to_look_at() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/using.md", "docs/operating.md"} <= {named(page) for page in PAGES}
    assert len(YAML) > 3
    assert {page for page, _, _ in TESTS} >= {"README.md", "docs/first-hour.md"}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.is_relative_to(ROOT), target
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


def test_every_picture_is_shown_somewhere() -> None:
    shown = {(page.parent / target).resolve() for page in PAGES for target in links(page)}
    assert {*(ROOT / "docs" / "images").iterdir()} <= shown


@pytest.mark.parametrize("page", [*PAGES, *YAML], ids=named)
def test_every_variable_that_is_named_is_one_that_is_read(page: Path) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | set(variables_of(COMMANDS))
    if page.name == "CONTRIBUTING.md":
        known |= variables_of_the_tests()
    assert set(re.findall(rf"{PREFIX}[A-Z_]*[A-Z]", page.read_text())) <= known


@pytest.mark.parametrize(("page", "path", "name"), TESTS)
def test_every_test_that_is_named_exists(page: str, path: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), flags=re.MULTILINE), page


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_target_of_make_that_is_named_is_in_the_makefile(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?<![\w-])make ([a-z-]+)", code(page))) <= targets


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_that_is_named_exists_and_has_the_options_that_it_is_given(page: Path) -> None:
    for words in re.findall(r"(?<![\w./-])(?:\.venv/bin/)?matview ([^\n#;&|]+)", code(page)):
        command: Any = COMMANDS
        given = re.sub(r"\"[^\"]*\"|'[^']*'", "x", words).split()
        while isinstance(command, TyperGroup) and given and re.fullmatch("[a-z]+", given[0]):
            assert given[0] in command.commands, words
            command = command.commands[given.pop(0)]
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        assert {word for word in given if re.fullmatch("--[a-z-]+", word)} <= options, words


def variables_of(command: Any) -> Iterator[str]:
    """The environment variables that set options of a command or of its subcommands."""
    for parameter in command.params:
        if isinstance(parameter.envvar, str):
            yield parameter.envvar
    for inner in command.commands.values() if isinstance(command, TyperGroup) else ():
        yield from variables_of(inner)


def variables_of_the_tests() -> set[str]:
    """The environment variables by which tests of the contract, fuzzers, chaos and cron try more than usual."""
    texts = [
        path.read_text()
        for folder in ("contract", "fuzz", "chaos", "temporal")
        for path in (ROOT / "tests" / folder).glob("*.py")
    ]
    return {
        name
        for text in texts
        for name in re.findall(rf"(?:number_from_environment|environ\.get)\(\"({PREFIX}\w+)\"", text)
    }
