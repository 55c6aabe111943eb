"""The files of others, as they were released."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.console.vendored import MANIFESTS, ROOT, digest, packages

LICENCES = {"0BSD", "MIT", "BSD-3-Clause", "Apache-2.0", "MPL-2.0"}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=["served", "of tests"])
def test_every_file_is_the_one_that_was_released(manifest: Path) -> None:
    named = {file["file"]: file["sha256"] for package in packages(manifest) for file in package["files"]}
    found = {
        str(path.relative_to(manifest.parent)): digest(path.read_bytes())
        for path in manifest.parent.rglob("*")
        if path.is_file() and path != manifest
    }
    assert found == named


@pytest.mark.parametrize("manifest", MANIFESTS, ids=["served", "of tests"])
def test_every_package_has_a_version_a_licence_and_a_reason(manifest: Path) -> None:
    for package in packages(manifest):
        assert package["version"][0].isdigit()
        assert package["licence"] in LICENCES
        assert package["why"]
        assert any("LICENSE" in file["from"] for file in package["files"]), package["name"]


def test_the_manifest_is_json_that_a_person_can_read() -> None:
    for manifest in MANIFESTS:
        assert manifest.read_text() == json.dumps(json.loads(manifest.read_text()), indent=2, ensure_ascii=False) + "\n"


def test_the_wheel_holds_the_pages_and_their_files(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    folder = ROOT / "api/console"
    expected = {
        str(path.relative_to(ROOT)) for kind in ("templates", "static") for path in (folder / kind).rglob("*.*")
    }
    assert len(expected) > 50
    assert expected <= held
