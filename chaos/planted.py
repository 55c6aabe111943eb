"""`python -m chaos.planted`: tests the harness itself, by bugs that it plants in copies of this tree.

Each bug breaks one promise. A short run on a copy with the bug must end with violations. If it finds none, the harness
would not notice that the promise is broken. Exits with status 1 if a bug was not found.
"""

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from chaos.report import say

_ROOT = Path(__file__).parents[1]
_STARTING_SECONDS = 600


class Bug(NamedTuple):
    """A piece of the product's code, and the faulty code that replaces it."""

    name: str
    file: str
    right: str
    wrong: str


BUGS = (
    Bug(
        "a version is published before its files are sealed",
        "orchestrator/activities/write.py",
        "await self.store.seal(location, files, _manifest(plan, snapshot))",
        "asyncio.get_running_loop().call_later(3, lambda: asyncio.ensure_future("
        "self.store.seal(location, files, _manifest(plan, snapshot))))",
    ),
    Bug(
        "a run that was ended may still publish",
        "orchestrator/catalog/publication.py",
        "ready = [run for run in runs if run.status == RunStatus.RUNNING and run.id not in refused]",
        "ready = [run for run in runs if run.status != RunStatus.COMPLETED]",
    ),
    Bug(
        "a cancel answers before the query has ended",
        "orchestrator/engines/duckdb/engine.py",
        "await uninterruptible(self._processes.give_back(process))",
        "asyncio.get_running_loop().call_later(20, lambda: asyncio.ensure_future(self._processes.give_back(process)))",
    ),
    Bug(
        "versions are removed before their readers are done",
        "orchestrator/catalog/retention.py",
        ".where(_grace_period_over(retention.grace), too_many | is_reverted(), _may_be_removed(), ~read, ~served)",
        ".where(t.snapshots.c.superseded_at.is_not(None))",
    ),
    Bug(
        "the reconciler deletes files that are of no run of this installation",
        "orchestrator/reconciliation/files.py",
        "yield Finding(kind=FindingKind.UNKNOWN_FILES, subject=location, message=message)",
        "yield await self._discard(location, dry_run=dry_run)",
    ),
    Bug(
        "the pointer moves and the run is not completed with it",
        "orchestrator/catalog/publication.py",
        "await tx.execute(_complete_stmt(), rows)",
        "assert rows",
    ),
)


def main() -> int:
    """Plant each bug in turn; returns the exit status of the process."""
    asked = _arguments()
    missed = [bug.name for bug in BUGS if asked.only in bug.name and not _is_found(bug, asked.minutes, asked.seed)]
    for name in missed:
        say(f"NOT FOUND: {name}")
    return 1 if missed else 0


def _is_found(bug: Bug, minutes: float, seed: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="mv-planted-") as name:
        copy = Path(name, "copy")
        python = _copied(copy)
        _plant(bug, copy)
        report, began = Path(name, "report.json"), time.monotonic()
        command = [
            str(python),
            "-m",
            "chaos",
            "--minutes",
            str(minutes),
            "--seed",
            str(seed),
            "--pace",
            "3",
            "--no-bulk",
        ]
        command += ["--no-small-disk", "--home", str(Path(name, "home")), "--json", str(report)]
        subprocess.run(command, cwd=copy, capture_output=True, timeout=minutes * 60 + _STARTING_SECONDS, check=False)  # noqa: S603 - ourselves
        violations = json.loads(report.read_text())["violations"] if report.exists() else []
        kinds = Counter(violation["kind"] for violation in violations)
        summary = ", ".join(f"{kind} {count} times" for kind, count in kinds.most_common(4))
        say(f"{bug.name}: {summary or 'nothing was found'} ({time.monotonic() - began:.0f} s)")
        return bool(violations)


def _copied(copy: Path) -> Path:
    """Copy the files that Git tracks to the folder `copy`; returns a Python that imports the copy and not this tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=_ROOT, capture_output=True, check=True)  # noqa: S607 - of the user
    for path in filter(None, listed.stdout.decode().split("\0")):
        if (_ROOT / path).is_file():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            (copy / path).write_bytes((_ROOT / path).read_bytes())
    venv.create(copy / ".venv", symlinks=True)
    packages = sysconfig.get_path("purelib", vars={"base": str(copy / ".venv"), "platbase": str(copy / ".venv")})
    # Python reads them in the order of their names, so that the copy comes before the tree that is installed here.
    Path(packages, "_a.pth").write_text(f"{copy}\n")
    Path(packages, "_b.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    (copy / ".venv/bin/temporal").symlink_to(Path(sys.prefix, "bin/temporal"))
    return copy / ".venv/bin/python"


def _plant(bug: Bug, copy: Path) -> None:
    """Replace the code. Raises ValueError if the file does not hold it exactly once."""
    path = copy / bug.file
    text = path.read_text()
    if text.count(bug.right) != 1:
        raise ValueError(f"{bug.file} has no single place with: {bug.right}")
    path.write_text(text.replace(bug.right, bug.wrong))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.planted", description="Sees whether the harness finds bugs.")
    parser.add_argument("--minutes", type=float, default=3, help="how long the trouble lasts for each bug")
    parser.add_argument("--seed", type=int, default=1, help="what decides on all that is done")
    parser.add_argument("--only", default="", help="a part of the names of the bugs to plant")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
