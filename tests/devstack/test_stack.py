"""The stack as a whole, with stand-ins for the parts of the program."""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.devstack import supervisor
from orchestrator.devstack.home import Home, StackError
from orchestrator.devstack.ports import choose_ports
from orchestrator.devstack.roles import Role, RoleProcess, http_ready
from orchestrator.devstack.stack import DevStack
from tests.devstack.support import (
    ROLES,
    Said,
    alive_below,
    ask,
    begin,
    bootstrap,
    events,
    fake_role,
    mode,
    order_of_ends,
    read_info,
)

# Writes its environment into the data folder; it runs once, before the roles start.
NOTE_ENVIRONMENT = (
    "import json, os, pathlib; pathlib.Path(os.environ['MATVIEW_DATA_DIR'], 'environment.json')"
    ".write_text(json.dumps(dict(os.environ)))"
)


@dataclass(frozen=True)
class Running:
    """A stack that several tests share."""

    home: Path
    stack: DevStack
    said: Said


@pytest.fixture(scope="module")
async def running(template: Path) -> AsyncGenerator[Running]:
    migrate = (sys.executable, "-S", "-c", NOTE_ENVIRONMENT)
    folder, said = Path(tempfile.mkdtemp(prefix="mv-")), Said()
    home = begin(folder / "home", template)
    try:
        async with DevStack(
            home, bootstrap=bootstrap, say=said, roles=ROLES, migrate=migrate, extra_source_roots=[Path("/srv")]
        ) as stack:
            yield Running(home, stack, said)
        assert alive_below(home) == {}
    finally:
        shutil.rmtree(folder)


async def test_the_program_and_the_developer_get_every_address(running: Running) -> None:
    home, stack = running.home, running.stack
    reported = json.loads((home / "data" / "environment.json").read_text())
    info = read_info(home)
    assert info == stack.info
    assert mode(home / "dev.json") == 0o600
    assert reported["MATVIEW_DATABASE_URL"] == info["database_url"]
    assert reported["MATVIEW_TEMPORAL_ADDRESS"] == info["temporal_address"]
    assert reported["MATVIEW_TEMPORAL_NAMESPACE"] == info["temporal_namespace"] == "default"
    assert reported["MATVIEW_TEMPORAL_UI_URL"] == info["temporal_ui_url"]
    assert reported["MATVIEW_DATA_DIR"] == info["data_dir"] == str(home / "data")
    assert json.loads(reported["MATVIEW_SOURCE_ROOTS"]) == [str(Path.cwd()), "/srv"]
    assert f"http://{reported['MATVIEW_API_HOST']}:{reported['MATVIEW_API_PORT']}" == info["api_url"]
    assert (info["api_key"], info["project_id"]) == ("first-key", "project")
    assert set(info["pids"]) == {"dev", "postgres", "temporal", "api", "worker"}
    assert info["pids"]["dev"] == os.getpid()


def test_what_the_shell_calls_the_current_folder_may_hold_source_tables_too(
    home: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    link = home.parent / "link"
    link.symlink_to(home)
    monkeypatch.chdir(link)
    for name, expected in ((str(link), [home, link]), ("/", [home]), ("", [home]), ("gone", [home])):
        monkeypatch.setenv("PWD", name)
        assert DevStack(home, bootstrap=bootstrap, say=said)._source_roots == expected


async def test_whatever_dies_is_started_again_and_the_rest_is_left_alone(running: Running) -> None:
    home, stack, said = running.home, running.stack, running.said
    await ask(stack.info["database_url"], "CREATE TABLE kept AS SELECT 42 AS answer")
    for name in ("postgres", "temporal", "worker"):
        before = read_info(home)
        stack.kill(name)
        log = home / "logs" / f"{name}.log"
        assert await said.next() == f"{name} was killed by SIGKILL; started again (log: {log})"
        after = read_info(home)
        changed = {role for role in after["pids"] if after["pids"][role] != before["pids"][role]}
        assert changed == {name}
        assert {**before, "pids": {}} == {**after, "pids": {}}
    assert await ask(stack.info["database_url"], "SELECT answer FROM kept") == 42


async def test_a_role_can_be_stopped_started_and_restarted_on_purpose(running: Running) -> None:
    home, stack = running.home, running.stack
    first = stack.info["pids"]["worker"]
    await stack.stop("worker")
    assert "worker" not in read_info(home)["pids"]
    await stack.start("worker")
    second = read_info(home)["pids"]["worker"]
    await stack.restart("worker")
    assert len({first, second, read_info(home)["pids"]["worker"]}) == 3
    assert [event for event in events(home) if event.startswith("worker")][-3:] == [
        "worker started",
        "worker stopped",
        "worker started",
    ]


async def test_the_program_stops_before_the_servers_and_the_key_outlives_them(begun_home: Path, said: Said) -> None:
    home = begun_home
    async with DevStack(home, bootstrap=bootstrap, say=said, roles=ROLES, migrate=None) as stack:
        info = stack.info
        ends = asyncio.create_task(order_of_ends(info["pids"]))
    assert await ends == ["api", "worker", "temporal", "postgres"]
    assert events(home)[-2:] == ["api stopped", "worker stopped"]
    assert read_info(home) == {**info, "pids": {}}

    async def another_key(_url: str, previous: object) -> dict[str, str]:
        assert previous == {**info, "pids": {}}
        return {"api_key": "second-key", "project_id": "project"}

    async with DevStack(home, bootstrap=another_key, say=said, roles=(), migrate=None) as stack:
        assert stack.info["api_key"] == "second-key"


@pytest.mark.usefixtures("quick_end")
async def test_a_role_that_does_not_start_is_named_with_the_end_of_its_log(begun_home: Path, said: Said) -> None:
    home = begun_home
    roles = (fake_role("api"), fake_role("worker", "fails"))
    with pytest.raises(StackError) as failed:
        await DevStack(home, bootstrap=bootstrap, say=said, roles=roles, migrate=None).__aenter__()
    lines = "".join(f"\n  line {number}" for number in range(11, 31))
    log = home / "logs" / "worker.log"
    assert str(failed.value) == f"worker ended with status 3 while starting. The last lines of {log}:{lines}"
    assert alive_below(home) == {}


@pytest.mark.usefixtures("quick_end")
async def test_a_failed_migration_ends_the_start(begun_home: Path, said: Said) -> None:
    home = begun_home
    migrate = (sys.executable, "-c", "import sys; sys.exit('no such revision')")
    with pytest.raises(StackError, match=r"(?s)^migrate ended with status 1\..*no such revision"):
        await DevStack(home, bootstrap=bootstrap, say=said, roles=ROLES, migrate=migrate).__aenter__()
    assert alive_below(home) == {}


@pytest.mark.usefixtures("quick_end")
async def test_a_role_that_cannot_stay_up_ends_the_stack(
    begun_home: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = begun_home
    monkeypatch.setattr(supervisor, "_FIRST_PAUSE", 0.01)
    stack = DevStack(home, bootstrap=bootstrap, say=said, roles=[fake_role("worker", "crashes")], migrate=None)
    with pytest.raises(StackError, match=r"(?s)^worker ended with status 4, the 5th failure within 30 .*it hurts"):
        await stack.run_until_stopped(lambda _info: None)
    assert alive_below(home) == {}


async def test_an_api_is_ready_when_it_says_so_over_http(home: Path) -> None:
    (home.parent / "readyz").touch()
    server = (sys.executable, "-c", f"""
import functools, http.server, os
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory={str(home.parent)!r})
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["MATVIEW_API_PORT"])), handler).serve_forever()
""")  # fmt: skip
    claimed = Home(home)
    claimed.claim()
    [port] = choose_ports({"--port": 0})
    child = RoleProcess(Role("api", server, ready=http_ready), claimed, {"MATVIEW_API_PORT": str(port)})
    await child.start()
    assert '"GET /readyz HTTP/1.1" 200' in (home / "logs" / "api.log").read_text()
    await child.stop()
    claimed.release()
