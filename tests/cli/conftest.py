from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli.app import app
from tests.cli.support import CannedApi

Matview = Callable[..., Result]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder without a stack, and an environment that names none."""
    monkeypatch.chdir(tmp_path)
    for name in ("MATVIEW_API_URL", "MATVIEW_API_KEY", "MATVIEW_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def api() -> Iterator[CannedApi]:
    with CannedApi() as running:
        yield running


@pytest.fixture
def matview(api: CannedApi) -> Matview:
    """The command line, configured for the canned API."""

    def call(*arguments: str, stdin: str | None = None, env: dict[str, str] | None = None) -> Result:
        return CliRunner().invoke(app, arguments, input=stdin, env=api.env if env is None else env)

    return call
