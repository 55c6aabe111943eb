"""The API server as the settings configure it."""

import resource
import subprocess
import sys

import pytest

from api.protocol import GuardedProtocol, Refusals
from api.server import config_of
from orchestrator.settings import Settings, load_settings

GOOD = {"database_url": "postgresql://u:p@localhost/d", "data_dir": "/data"}


def _settings(**given: object) -> Settings:
    return load_settings(**{**GOOD, **given})


@pytest.mark.parametrize(
    ("asked", "files", "bound"), [(1000, 65_536, 1000), (1000, 1024, 768), (1000, 100, 16), (20, 1024, 20)]
)
def test_there_are_no_more_connections_than_files_can_be_opened(asked: int, files: int, bound: int) -> None:
    config = config_of(_settings(api_connections=asked), open_files=files)
    assert issubclass(config.http, GuardedProtocol)  # type: ignore[arg-type]
    assert config.http.register.bounds.in_all == bound  # type: ignore[union-attr]


def test_no_proxy_is_believed_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # uvicorn's own variable
    config = config_of(_settings(), open_files=1024)
    assert (config.proxy_headers, config.forwarded_allow_ips) == (False, [])
    named = config_of(_settings(trusted_proxies='["10.0.0.7", "2001:db8::/32"]'), open_files=1024)
    assert (named.proxy_headers, named.forwarded_allow_ips) == (True, ["10.0.0.7/32", "2001:db8::/32"])


def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be() -> None:
    hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 4096)
    code = (
        "import resource; from api.server import raise_open_files; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (128, {hard})); "
        "print(raise_open_files(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(hard)] * 3


def test_a_flood_of_refusals_is_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    moment = 0.0
    refusals = Refusals(lambda: moment)
    for number in range(10_000):
        moment = number / 100
        refusals.note(f"reason {number % 2}")
    assert [record.message for record in caplog.records] == [
        "connections that were ended: 1 times: reason 0",
        "connections that were ended: 3000 times: reason 1; 3000 times: reason 0",
    ]
