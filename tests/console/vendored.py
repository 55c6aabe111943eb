"""The files of others that the console serves, and that its tests use: released files, unchanged.

`python -m tests.console.vendored` (`make vendored`) fetches the packages of both manifests from the npm registry again,
writes their files, and records the hashes. A test compares files and hashes without any network.
"""

import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MANIFESTS = (ROOT / "api/console/static/vendor/manifest.json", ROOT / "tests/console/vendor/manifest.json")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def packages(manifest: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(manifest.read_text())["packages"]
    return found


def fetch(manifest: Path) -> None:
    """Write the files that a manifest names, from the released packages, and their hashes into it."""
    document = json.loads(manifest.read_text())
    for package in document["packages"]:
        with tempfile.TemporaryDirectory() as folder:
            named = f"{package['name']}@{package['version']}"
            subprocess.run(["npm", "pack", "--silent", named], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            (archive,) = Path(folder).glob("*.tgz")
            with tarfile.open(archive) as released:
                for file in package["files"]:
                    member = released.extractfile(f"package/{file['from']}")
                    assert member is not None, file
                    content = member.read()
                    path = manifest.parent / file["file"]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                    file["sha256"] = digest(content)
    manifest.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    for one in MANIFESTS:
        fetch(one)
