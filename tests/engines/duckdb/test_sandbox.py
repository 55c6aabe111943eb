"""The sandbox of the operating system, without DuckDB's own lock."""

import asyncio
import json
import os
import platform
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engines.duckdb.sandbox import landlock
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import CANARY_OF_THE_ENVIRONMENT, WholeEngine, file_url, make_engine, make_plan
from tests.engines.duckdb.test_child_process import ENDLESS, pid_of_writer
from tests.engines.sources.test_discovery import write_parquet

needs_landlock = pytest.mark.skipif(landlock.version() == 0, reason="this kernel has no Landlock")
needs_seccomp = pytest.mark.skipif(
    platform.machine() not in {"x86_64", "aarch64"}, reason="there is no filter for this machine"
)

CONFINED = """
import json, sys
import duckdb  # as in a child: loaded before it is confined
from orchestrator.engines.duckdb.sandbox.confine import confine, layers
from orchestrator.engines.duckdb.sources.discovery import SourceFile
given = json.loads(sys.argv[1])
{first}
confine([SourceFile(*file) for file in given["readable"]], given["writable"])
def outcome(work):
    try:
        return "done: " + str(work())
    except BaseException as error:
        return type(error).__name__ + ": " + str(error)
{work}
"""


def confined(work: str, folder: Path, first: str = "", readable: Sequence[SourceFile] = ()) -> Any:
    """The JSON that `work` prints in a process that may read `readable` (or in.parquet), and change `folder`/out."""
    files = [*readable] or [SourceFile(str(folder / "in.parquet"), str(folder / "in.parquet"))]
    given = {"folder": str(folder), "readable": files, "writable": [str(folder / "out")]}
    code = CONFINED.format(work=work, first=first)
    done = subprocess.run([sys.executable, "-c", code, json.dumps(given)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    write_parquet(tmp_path / "in.parquet", "SELECT 1 AS a")
    write_parquet(tmp_path / "other.parquet", "SELECT 'the other' AS a")
    (tmp_path / "secret.csv").write_text("a\nthe secret\n")
    (tmp_path / "out" / "link.csv").symlink_to(tmp_path / "secret.csv")
    return tmp_path


UNLOCKED = """
connection = duckdb.connect()
run = lambda sql: connection.execute(sql.replace("$", given["folder"])).fetchall()
print(json.dumps([outcome(lambda: run(sql)) for sql in given_sql]))
"""
ALLOWED = [
    "SELECT a FROM read_parquet('$/in.parquet')",
    "COPY (SELECT 2 AS a) TO '$/out/x.parquet'",
    "SELECT a FROM read_parquet('$/out/*.parquet')",
    "SELECT count(*) FROM range(1000000) r(i) WHERE i % 2 = 0",
]
FORBIDDEN = [
    "SELECT * FROM read_text('$/secret.csv')",
    "SELECT * FROM read_text('$/out/link.csv')",
    "SELECT * FROM read_text('$/out/../secret.csv')",
    "SELECT * FROM '$/other.parquet'",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_text('/proc/self/environ')",
    "SELECT * FROM read_text('/proc/self/root/etc/passwd')",
    "COPY (SELECT 1) TO '$/stolen.csv'",
    "COPY (SELECT 1) TO '$/in.parquet' (FORMAT parquet)",
    "COPY (SELECT 1) TO '$/secret.csv'",
    "COPY (SELECT 1) TO '/tmp/stolen-by-a-view.csv'",
    "ATTACH '$/stolen.db'",
    "EXPORT DATABASE '$/stolen'",
]


@needs_landlock
def test_an_unlocked_duckdb_still_reaches_its_own_files_only(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    outcomes = confined(f"given_sql = {ALLOWED + FORBIDDEN!r}\n" + UNLOCKED, folder)
    assert outcomes[: len(ALLOWED)] == ["done: [(1,)]", "done: [(1,)]", "done: [(2,)]", "done: [(500000,)]"]
    for sql, outcome in zip(FORBIDDEN, outcomes[len(ALLOWED) :], strict=True):
        assert "Permission denied" in outcome or "Cannot open" in outcome or "Failed to create" in outcome, sql
        assert "the secret" not in outcome
        assert "the other" not in outcome
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@needs_landlock
def test_an_unlocked_duckdb_lists_no_folder_but_its_own(folder: Path) -> None:
    globs = [
        "SELECT count(*) FROM glob('$/*')",
        "SELECT count(*) FROM glob('/*')",
        "SELECT count(*) FROM glob('$/out/*')",
    ]
    assert confined(f"given_sql = {globs!r}\n" + UNLOCKED, folder) == ["done: [(0,)]", "done: [(0,)]", "done: [(1,)]"]


PYTHON = """
import os, resource, signal, socket, subprocess, threading
folder = given["folder"]
def in_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(outcome(lambda: open(folder + "/secret.csv").read())))
    thread.start()
    thread.join()
    return found[0]
print(json.dumps({
    "open": outcome(lambda: open(folder + "/secret.csv").read()),
    "thread": in_a_thread(),
    "delete": outcome(lambda: os.unlink(folder + "/secret.csv")),
    "move in": outcome(lambda: os.rename(folder + "/secret.csv", folder + "/out/secret.csv")),
    "link in": outcome(lambda: os.link(folder + "/secret.csv", folder + "/out/secret.csv")),
    "symlink": outcome(lambda: os.symlink(folder + "/secret.csv", folder + "/out/symlink.csv")),
    "pipe": outcome(lambda: os.mkfifo(folder + "/out/pipe")),
    "truncate": outcome(lambda: os.truncate(folder + "/secret.csv", 0)),
    "environment of the parent": outcome(lambda: open(f"/proc/{os.getppid()}/environ").read()),
    "memory of the parent": outcome(lambda: open(f"/proc/{os.getppid()}/mem", "rb").read(1)),
    "list": outcome(lambda: os.listdir(folder)),
}))
"""


@needs_landlock
def test_whatever_runs_in_the_process_is_kept_in(folder: Path) -> None:
    for what, outcome in confined(PYTHON, folder).items():
        assert outcome.startswith(("PermissionError", "OSError: [Errno 18]")), what
    assert (folder / "secret.csv").read_text() == "a\nthe secret\n"
    assert [path.name for path in (folder / "out").iterdir()] == ["link.csv"]


CALLS = """
import ctypes, os, signal, socket, subprocess
pid = os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
def unshare():
    if libc.unshare(0x10000000):
        raise OSError(ctypes.get_errno(), "unshare")
print(json.dumps({
    "TCP": outcome(lambda: socket.create_connection(("127.0.0.1", 9))),
    "UDP": outcome(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
    "UDP over IPv6": outcome(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)),
    "local": outcome(lambda: socket.socket(socket.AF_UNIX)),
    "raw": outcome(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "program": outcome(lambda: subprocess.run(["/bin/true"])),
    "replace": outcome(lambda: os.execv("/bin/true", ["true"])),
    "fork": outcome(os.fork),
    "spawn": outcome(lambda: os.posix_spawn("/bin/true", ["true"], {})),
    "kill": outcome(lambda: os.kill(pid, signal.SIGCONT)),
    "mode": outcome(lambda: os.chmod(given["folder"] + "/secret.csv", 0)),
    "times": outcome(lambda: os.utime(given["folder"] + "/secret.csv")),
    "namespace": outcome(unshare),
}))
"""
HARMLESS_CALLS = """
import signal, threading
caught = []
signal.signal(signal.SIGUSR1, lambda number, _: caught.append(number))
signal.raise_signal(signal.SIGUSR1)
signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
threads = [threading.Thread(target=lambda: caught.append(0)) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps([len(caught), layers()]))
"""


@needs_seccomp
def test_calls_that_no_query_needs_are_refused(folder: Path) -> None:
    for what, outcome in confined(CALLS, folder).items():
        assert outcome.startswith("PermissionError"), what


@needs_seccomp
def test_threads_and_signals_to_itself_are_not_refused(folder: Path) -> None:
    count, layers = confined(HARMLESS_CALLS, folder)
    assert count == 5
    assert layers[-1] == "seccomp"


WITHOUT_LANDLOCK = """
import ctypes, errno, os
from orchestrator.engines.duckdb.sandbox import seccomp
steps = [
    seccomp._Instruction(seccomp._LOAD, seccomp._NUMBER),
    seccomp._Instruction(seccomp._EQUAL, 444, jump_true="unknown"),
    seccomp._Instruction(seccomp._RETURN, seccomp._ALLOW),
    seccomp._Instruction(seccomp._RETURN, seccomp._ERRNO | errno.ENOSYS),
]
seccomp._install(b"".join(seccomp._encode(step, place, {"unknown": 3}) for place, step in enumerate(steps)))
"""


@needs_seccomp
def test_a_kernel_without_landlock_has_the_other_layers(folder: Path) -> None:
    layers = confined("print(json.dumps(layers()))", folder, first=WITHOUT_LANDLOCK)
    assert layers == ["DuckDB's lock", "resource limits", "an empty environment", "dropped capabilities", "seccomp"]
    for what, outcome in confined(CALLS, folder, first=WITHOUT_LANDLOCK).items():
        assert outcome.startswith("PermissionError"), what


@pytest.fixture
async def mine(tmp_path: Path) -> AsyncIterator[WholeEngine]:
    engine = make_engine(tmp_path / "scratch", threads=1)
    await engine.start()
    yield engine
    await engine.close()


@needs_landlock
@needs_seccomp
async def test_the_layers_that_are_on_can_be_asked_for(mine: WholeEngine) -> None:
    assert await mine.analyzer.layers() == [
        "DuckDB's lock",
        "resource limits",
        "an empty environment",
        f"Landlock (ABI {landlock.version()})",
        "dropped capabilities",
        "seccomp",
    ]


async def test_no_process_of_the_engine_has_the_environment_of_its_parent(mine: WholeEngine, tmp_path: Path) -> None:
    assert await mine.analyzer.references("SELECT 1") == ()
    assert await mine.analyzer.describe("SELECT 1 AS a", {})
    (tmp_path / "target").mkdir()
    task = asyncio.create_task(
        mine.write(make_plan(ENDLESS), file_url, WriteTarget.local(tmp_path / "target"), lambda _: None)
    )
    pids = [await pid_of_writer(mine), forkserver._forkserver._forkserver_pid]  # type: ignore[attr-defined] # nowhere public
    pids += [child.pid for child in [*mine.analyzer._parser_pool.children, *mine.analyzer._binder_pool.children]]
    assert len(pids) == 4
    for pid in pids:
        assert set(Path(f"/proc/{pid}/environ").read_bytes()) <= {0}
    assert os.environ["CANARY_OF_THE_ENVIRONMENT"] == CANARY_OF_THE_ENVIRONMENT
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@needs_landlock
@needs_seccomp
async def test_every_process_that_sees_sql_is_confined(mine: WholeEngine, tmp_path: Path) -> None:
    assert await mine.analyzer.references("SELECT 1") == ()
    assert await mine.analyzer.describe("SELECT 1 AS a", {})
    (tmp_path / "target").mkdir()
    task = asyncio.create_task(
        mine.write(make_plan(ENDLESS), file_url, WriteTarget.local(tmp_path / "target"), lambda _: None)
    )
    pids = [await pid_of_writer(mine)]
    pids += [
        child.pid for child in [*mine.analyzer._parser_pool.children, *mine.analyzer._binder_pool.children] if child.pid
    ]
    assert len(pids) == 3
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            status = dict(line.split(":\t", 1) for line in (thread / "status").read_text().splitlines())
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
            assert int(status["CapEff"], 16) & ~0b110 == 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
