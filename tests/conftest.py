"""Real servers, started once: each test has a project of its own in them."""

import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client

from orchestrator.catalog.database import Database
from orchestrator.devstack.stack import DevStack
from orchestrator.temporal.client import connect
from tests.client.support import CACHE
from tests.support import post_mortem
from tests.support.command_line import Commands
from tests.support.operator import Operator
from tests.support.s3_server import S3Server, s3_server
from tests.support.tenants import Tenant, a_tenant, cancel_all, dev_stack

_BEGAN = time.time()


def pytest_configure() -> None:
    """Take Ctrl-C as usual. A shell starts background jobs with SIGINT ignored, and every child would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print where the transcripts of PostHog's client are."""
    for path in sorted(CACHE.glob("transcript-*.txt")):
        if path.stat().st_mtime >= _BEGAN:
            terminalreporter.write_line(f"What PostHog's client was asked and said: {path}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say of a test that has failed what else ran in its stack."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and report.when == "call" and stack is not None:
        try:
            found = post_mortem.describe(stack.info)
        except pytest.fail.Exception as error:  # the time of the test ends here: raised from a hook, it would end all
            found = str(error)
        report.sections.append(("what runs in the stack", found))
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Name the tests that have failed also if pytest itself fails, when it would not."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus == pytest.ExitCode.INTERNAL_ERROR and reporter is not None:
        reporter.short_test_summary()


@pytest.fixture(scope="session", autouse=True)
def small_queries() -> Iterator[None]:
    """A memory limit that a test can reach in a moment, and one thread: tests run beside one that runs endlessly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATVIEW_QUERY_MEMORY_MB", "512")
        patch.setenv("MATVIEW_QUERY_THREADS", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(session_folder: Path) -> Iterator[None]:
    """A cache folder for the commands of the tests, which keep the revisions that they have seen there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(session_folder / "cache"))
        yield


@pytest.fixture(scope="session")
def session_folder() -> Iterator[Path]:
    """A folder for all that a session writes; its path is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="mv-test-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def sources(session_folder: Path) -> Path:
    """A folder in which source tables may lie."""
    folder = session_folder / "sources"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def s3(session_folder: Path) -> Iterator[S3Server]:
    """A server that speaks the protocol of S3, with a bucket."""
    with s3_server(session_folder / "s3.log") as running:
        yield running


@pytest.fixture(scope="session")
async def stack(session_folder: Path, sources: Path) -> AsyncIterator[DevStack]:
    """PostgreSQL, Temporal, the API and a worker, as `matview dev` starts them."""
    async with dev_stack(session_folder / "home", sources) as running:
        yield running


@pytest.fixture
async def database(stack: DevStack) -> AsyncIterator[Database]:
    """The stack's catalog."""
    opened = Database(stack.info["database_url"], pool_size=2)
    yield opened
    await opened.close()


@pytest.fixture
async def temporal(stack: DevStack) -> Client:
    """A client of the stack's Temporal server."""
    return await connect(stack.info["temporal_address"], stack.info["temporal_namespace"])


@pytest.fixture
async def operator(temporal: Client) -> Operator:
    """The actions of an operator in the Temporal UI."""
    return Operator(temporal)


@pytest.fixture(scope="session")
async def shared_catalog(stack: DevStack) -> AsyncIterator[Database]:
    """The stack's catalog, opened once: for what each test does there first."""
    opened = Database(stack.info["database_url"], pool_size=1)
    yield opened
    await opened.close()


@pytest.fixture
async def tenant(stack: DevStack, shared_catalog: Database) -> AsyncIterator[Tenant]:
    """A project of the test's own, with a key that may do everything in it. Its end cancels the work that is left."""
    async with a_tenant(stack, database=shared_catalog) as found:
        yield found
        await cancel_all(found, shared_catalog)


@pytest.fixture
def folder(tenant: Tenant, sources: Path) -> Path:
    """A folder of the test's own, below which the stack may read files."""
    made = sources / f"project-{tenant.project_id}-{uuid4().hex}"  # another stack may have a project of that number
    made.mkdir()
    return made


@pytest.fixture
def matview(stack: DevStack, tenant: Tenant, folder: Path) -> Commands:
    """The command line in that folder, with the address and key of the tenant."""
    return Commands(stack, tenant, folder)
