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
    """A piece of the product's code, and the faulty code that replaces it.

    `more` are further replacements (file, right, wrong). `test` is the test that has to find it, where chaos would do
    so by luck only.
    """

    name: str
    file: str
    right: str
    wrong: str
    more: tuple[tuple[str, str, str], ...] = ()
    test: str = ""

    @property
    def changes(self) -> tuple[tuple[str, str, str], ...]:
        """All replacements: file, right and wrong code."""
        return ((self.file, self.right, self.wrong), *self.more)


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
        "return written\n        finally:\n            await uninterruptible(self._processes.give_back(process))",
        "return written\n        finally:\n            asyncio.get_running_loop().call_later(20, lambda: "
        "asyncio.ensure_future(self._processes.give_back(process)))",
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
        "await tx.execute(_complete_stmt(), giving(rows))",
        "assert rows",
    ),
    Bug(
        "the views of a generation become visible one by one",
        "orchestrator/activities/finish.py",
        "            published = await publication.publish("
        "tx, request.run_ids, all_or_nothing=request.all_or_nothing)\n",
        "            for one in request.run_ids:\n"
        "                async with self.database.begin() as each:\n"
        "                    published = await publication.publish(each, [one])\n",
    ),
    Bug(
        "a lock forgets a view",
        "orchestrator/services/planning.py",
        "held = await runs.list_open(tx, members)",
        "held = await runs.list_open(tx, members[1:])",
        (
            (
                "orchestrator/catalog/migrations/versions/0007_generations.py",
                '"uq_runs_open", "runs", ["saved_query_id"], unique=True,',
                '"uq_runs_open", "runs", ["saved_query_id"],',
            ),
        ),
    ),
    Bug(
        "a kept process keeps a relation of the query before",
        "orchestrator/engines/duckdb/child/session.py",
        "if self._created.get(key) == source:",
        "if key in self._created:",
        (
            (
                "orchestrator/engines/duckdb/child/execute.py",
                "session.clear()",
                "assert session",
            ),
        ),
        "tests/engines/duckdb/test_kept_processes.py",
    ),
    Bug(
        "a file that changed before it was read is not noticed",
        "orchestrator/activities/write.py",
        'return any(read.get(one.id) != pins.digest(one.id) for one in plan.relations if one.kind == "source")',
        "return not read and pins.digest(plan.run_id) is not None",
    ),
    Bug(
        "what was written from a table is not written again when that is pinned again",
        "orchestrator/activities/begin.py",
        "            await run_plans.reset(tx, again)\n        return tuple(sorted(again))",
        "            await run_plans.reset(tx, [])\n        return tuple(sorted(again)[:0])",
    ),
    Bug(
        "views below a reader of a table are not written again when that is pinned again",
        "orchestrator/services/member_plans.py",
        "    grown = True\n",
        "    grown = False\n",
    ),
    Bug(
        "a file is known by its size and time only",
        "orchestrator/engines/duckdb/sources/discovery.py",
        'return f"{self.file.inode}:{self.size}:{self.modified_ns}:{self.changed_ns}"',
        'return f"{self.size}:{self.modified_ns}"',
    ),
    Bug(
        "a file is known by its time only",
        "orchestrator/engines/duckdb/sources/discovery.py",
        'return f"{self.file.inode}:{self.size}:{self.modified_ns}:{self.changed_ns}"',
        'return f"{self.modified_ns}"',
        (
            (
                "orchestrator/engines/duckdb/sources/discovery.py",
                "return max(self.modified_ns, self.changed_ns) + _COARSEST_TIME_NS < time.time_ns()",
                "return True",
            ),
        ),
        test="tests/acceptance/test_skipping.py",
    ),
    Bug(
        "a result is published before its checks are looked at",
        "orchestrator/activities/write.py",
        "reason = not_published(checks)",
        "reason = not_published(())",
        (
            (
                "orchestrator/catalog/publication.py",
                "failed = not_published(results_of(run.checks)) if run.status == RunStatus.RUNNING else None",
                "failed = None",
            ),
        ),
        test="tests/checks/test_never_seen.py",
    ),
    Bug(
        "a run is judged by the results of the attempt before",
        "orchestrator/catalog/run_plans.py",
        ".values({name: found.c[name] for name in changed})",
        ".values({name: func.coalesce(t.run_plans.c[name], found.c[name]) for name in changed})",
        (
            (
                "orchestrator/catalog/run_plans.py",
                "unchanged_reason=None, checks=null(), spent=spent",
                "unchanged_reason=None, spent=spent",
            ),
        ),
        test="tests/catalog/test_run_plans.py",
    ),
    Bug(
        "a check reads what is published instead of what its generation has written",
        "orchestrator/services/member_plans.py",
        "else _relation(one.name, snapshot)",
        "else one.current or _relation(one.name, snapshot)",
        test="tests/checks/test_gate.py",
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
        if bug.test:
            return _fails(bug, python, copy)
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


def _fails(bug: Bug, python: Path, copy: Path) -> bool:
    """Whether the test of a bug fails in the copy."""
    command = [str(python), "-m", "pytest", "-q", "-x", bug.test]
    ended = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=_STARTING_SECONDS, check=False)  # noqa: S603 - ourselves
    say(f"{bug.name}: {bug.test} {'fails' if ended.returncode == 1 else 'passes'}")
    return ended.returncode == 1


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
    """Replace the code. Raises ValueError if a file does not hold it exactly once."""
    for file, right, wrong in bug.changes:
        text = (copy / file).read_text()
        if text.count(right) != 1:
            raise ValueError(f"{file} has no single place with: {right}")
        (copy / file).write_text(text.replace(right, wrong))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.planted", description="Sees whether the harness finds bugs.")
    parser.add_argument("--minutes", type=float, default=3, help="how long the trouble lasts for each bug")
    parser.add_argument("--seed", type=int, default=1, help="what decides on all that is done")
    parser.add_argument("--only", default="", help="a part of the names of the bugs to plant")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
