"""The Dockerfile agrees with the files of this repository."""

import re
import shlex
import tomllib
from pathlib import Path

from tests.deploy.support import ROOT, environment, services

LINES = [line.strip() for line in re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines() if line.strip()]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TESTS, BUILD, RUN = (
    ROOT / name for name in ("requirements.lock", "deploy/requirements-build.lock", "deploy/requirements-server.lock")
)


def said(instruction: str) -> list[str]:
    return [line.removeprefix(instruction).strip() for line in LINES if line.startswith(f"{instruction} ")]


def resolved_inputs(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / name).read_text(), flags=re.MULTILINE))


def compiled(lock: Path) -> str:
    """The command of `make lock` that writes a lock."""
    recipe = (ROOT / "Makefile").read_text().partition("\nlock:")[2].partition("\n\n")[0]
    (command,) = re.findall(rf"^.*--output-file {lock.relative_to(ROOT)}$", recipe.replace("\\\n", " "), re.MULTILINE)
    return str(command)


def canonical(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found[0].lower())


def test_both_stages_have_one_pinned_base_of_a_python_that_the_project_runs_on() -> None:
    (base,) = {image.removesuffix(" AS build") for image in said("FROM")}
    found = re.fullmatch(r"python:3\.(\d+)\.\d+-slim-[a-z]+", base)
    assert found
    assert int(found[1]) >= int(PROJECT["project"]["requires-python"].rpartition(".")[2])


def test_what_is_copied_is_there_and_is_let_through() -> None:
    copied = [source for line in said("COPY") if "--from" not in line for source in shlex.split(line)[:-1]]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert sorted(copied) == sorted(line[1:] for line in ignored if line.startswith("!"))
    assert [path for path in copied if not (ROOT / path).exists()] == []


def test_all_that_the_wheel_is_made_of_is_copied() -> None:
    copied = {source for line in said("COPY") for source in shlex.split(line)[:-1]}
    project = PROJECT["project"]
    wanted = {*PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], project["readme"]}
    assert wanted | set(project["license-files"]) | {"pyproject.toml"} <= copied


def test_the_image_runs_the_program_as_a_user_that_is_nobody_else() -> None:
    assert said("ENTRYPOINT") == [f'["{next(iter(PROJECT["project"]["scripts"]))}"]']
    (user,) = said("USER")
    assert {service["user"] for service in services().values() if service["image"].startswith("matview:")} == {user}
    uid, _, gid = user.partition(":")
    assert f"--uid {uid} --gid {gid}" in " ".join(said("RUN"))


def test_the_folder_of_the_store_belongs_to_that_user() -> None:
    folder = environment(services()["worker"])["MATVIEW_DATA_DIR"]
    (user,) = said("USER")
    uid, _, gid = user.partition(":")
    assert re.search(rf"install --directory --owner={uid} --group={gid} --mode=0750 {folder}\b", " ".join(said("RUN")))


def test_everything_is_installed_from_a_lock_with_hashes() -> None:
    installs = [part for line in said("RUN") for part in line.split("&&") if " install " in part and "pip" in part]
    assert all("--require-hashes" in part or "--no-index" in part for part in installs)
    for lock in (BUILD, RUN):
        text = lock.read_text()
        assert text.count("--hash=sha256:") > text.count("==")
        assert "://" not in text
        assert "--index" not in text


def test_the_image_has_the_releases_that_the_tests_run_with_and_no_others() -> None:
    tested = resolved_inputs("requirements.lock")
    for lock in (BUILD, RUN):
        assert resolved_inputs(str(lock)).items() <= tested.items()


def test_every_lock_is_made_for_the_oldest_python_with_hashes_and_with_the_releases_of_the_tests() -> None:
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    for lock in (TESTS, BUILD, RUN):
        command = compiled(lock)
        assert f" --python-version {oldest} " in command
        assert {"--universal", "--generate-hashes"} <= set(command.split())
        assert ("--constraint requirements.lock" in command) == (lock != TESTS)


def test_the_image_has_what_the_program_needs_and_neither_servers_nor_tools() -> None:
    installed = set(resolved_inputs(str(RUN)))
    extras = PROJECT["project"]["optional-dependencies"]
    asked = re.findall(r"--extra (\w+)", compiled(RUN))
    assert set(asked) == set(extras) - {"embedded", "demo", "spark", "sail"}, "make lock"
    server = [*PROJECT["project"]["dependencies"], *(one for name in asked for one in extras[name])]
    assert {canonical(one) for one in server} <= installed
    embedded = extras["embedded"]
    assert not {canonical(one) for one in [*embedded, "pytest", "ruff", "hatchling"]} & installed
    assert {canonical(one) for one in PROJECT["build-system"]["requires"]} <= set(resolved_inputs(str(BUILD)))
