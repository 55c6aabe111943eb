"""Requests to an open port that no client of the API would send, on the real servers."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from temporalio.envconfig import ClientConfigProfile

from api.app import create_app
from api.bodies import MOST_BYTES
from orchestrator.devstack.stack import DevStack
from tests.api.raw import ask_raw, connect
from tests.contract.rules import JSON, is_error
from tests.contract.support import VIEWS
from tests.support.tenants import PATIENCE, Tenant

FEW, MANY = 300, 1100


def _head(tenant: Tenant, *fields: str, method: str = "POST", path: str = VIEWS) -> bytes:
    given = [
        f"{method} /api/projects/{tenant.project_id}{path} HTTP/1.1",
        f"Host: {tenant.http.base_url.netloc.decode()}",
        f"Authorization: Bearer {tenant.token}",
        "Content-Type: application/json",
        *fields,
    ]
    return "\r\n".join([*given, "", ""]).encode()


@contextmanager
def _many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_request_with_a_length_and_chunks_is_refused_and_what_follows_is_not_answered(
    stack: DevStack, tenant: Tenant
) -> None:
    hidden = _head(tenant, method="GET")
    sent = _head(tenant, f"Content-Length: {len(hidden) + 5}", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + hidden
    answer = await ask_raw(stack.info["api_url"], sent)
    assert answer.is_refusal(400)
    assert b"connection: close" in answer.head


async def test_thousands_of_unfinished_requests_keep_nobody_from_being_answered(
    stack: DevStack, tenant: Tenant
) -> None:
    held = []
    with _many_files():
        for number in range(MANY):
            held.append(await connect(stack.info["api_url"]))
            sent = [
                _head(tenant)[:-2],
                _head(tenant)[:9],
                b"",
                _head(tenant, "Content-Length: 9").replace(b"mv_", b"x"),
            ]
            held[-1][1].write(sent[number % len(sent)])
            if number % 100 == 0:
                async with httpx.AsyncClient(base_url=tenant.http.base_url, headers=tenant.http.headers) as http:
                    assert (await http.get(VIEWS, timeout=PATIENCE)).status_code == 200
                    assert (await http.get(stack.info["api_url"] + "/livez", timeout=PATIENCE)).status_code == 200
        for _, writer in held:
            writer.transport.abort()
    await tenant.call("GET", VIEWS)


async def test_the_api_opens_as_many_files_as_it_may(stack: DevStack) -> None:
    lines = Path(f"/proc/{stack.info['pids']['api']}/limits").read_text().splitlines()
    (soft, hard) = next(line.split()[3:5] for line in lines if line.startswith("Max open files"))
    assert soft == hard or int(soft) >= 65_536


@pytest.mark.parametrize("blanks", [MOST_BYTES + 1, 8 << 20])
async def test_a_body_that_is_too_large_is_refused_before_it_is_read(tenant: Tenant, blanks: int) -> None:
    before = await tenant.call("GET", VIEWS)
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    answer = await ask_raw(
        str(tenant.http.base_url), _head(tenant, "Transfer-Encoding: chunked"), *[chunk] * (blanks // 0x10000 + 1)
    )
    assert answer.is_refusal(413)
    assert f"{MOST_BYTES:,}" in answer.body["detail"]
    announced = await ask_raw(str(tenant.http.base_url), _head(tenant, f"Content-Length: {blanks << 10}"))
    assert announced.is_refusal(413)
    assert await tenant.call("GET", VIEWS) == before


async def test_the_largest_request_that_can_mean_something_is_taken(tenant: Tenant) -> None:
    body = '"kind": "HogQLQuery", "query": "SELECT 1 AS n --{}"'.format("\\u0001" * (200_000 - 18))
    text = f'{{"name": "large", "query": {{{body}}}, "description": "{chr(92)}ud83d{chr(92)}ude00"}}'.replace(
        "\\ud83d\\ude00", "\\ud83d\\ude00" * 10_000
    )
    answer = await tenant.http.post(VIEWS, content=text, headers=JSON)
    assert answer.status_code == 201, answer.text
    assert answer.json()["query"]["query"].endswith("\x01")


@pytest.mark.parametrize(
    "body",
    [
        '{"name": "v", "name": "w", "query": {"query": "SELECT 1"}}',
        '{"name": "v", "query": {"query": "SELECT 1", "query": "SELECT 2"}}',
        '{"name": "v", "query": {"query": "SELECT 1"}, "n": Infinity}',
        '{"name": "v", "query": {"query": "SELECT 1"}, "n": -Infinity}',
        f'{{"name": "v", "query": {{"query": "SELECT 1"}}, "n": {"9" * 10_000}}}',
        '{"name": "v", "query": {"query": "SELECT 1"}, "\\u0000": 1}',
        '{"name": "v", "query": {"query": "SELECT 1", "\\u0000": 1}}',
        '{"name": "v", "query": {"query": "SELECT \'\\ud800\'"}}',
        f'{{"name": "v", "query": {{"query": "SELECT 1"}}, "n": {"[" * 60}{"]" * 60}}}',
        f'{{"name": "v", "query": {{"query": "SELECT 1"}}, "n": {"[" * 100_000}{"]" * 100_000}}}',
        '{"name": "v", "query": {"query": "SELECT 1", "note": "%s"}}' % ("x" * 20_001),
        '{"name": "v", "query": {"query": "SELECT 1", "%s": 1}}' % ("x" * 20_001),
        '{"name": "v", "query": {"query": "SELECT 1 --%s"}}' % ("x" * 200_000),
    ],
)
async def test_json_that_is_ambiguous_or_cannot_be_kept_is_refused(tenant: Tenant, body: str) -> None:
    answer = await tenant.http.post(VIEWS, content=body, headers=JSON)
    assert (answer.status_code, is_error(answer)) == (400, True), answer.text
    assert (await tenant.call("GET", VIEWS))["count"] == 0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
async def test_json_in_another_encoding_than_utf_8_is_refused(tenant: Tenant, encoding: str) -> None:
    body = '{"name": "v", "query": {"query": "SELECT 1"}, "description": "ä"}'.encode(encoding)
    answer = await tenant.http.post(VIEWS, content=body, headers=JSON)
    assert (answer.status_code, is_error(answer)) == (400, True), answer.text


async def test_odd_bytes_in_paths_queries_and_headers_are_answered(stack: DevStack, tenant: Tenant) -> None:
    url = stack.info["api_url"]
    odd = ["%", "%zz", "%00", "%ff%fe", "%c0%80", "%0d%0aX: y", "%2e%2e/%2e%2e", "..", "//", "\\", "%u0041", "*"]
    for value in odd:
        for path in (
            f"{VIEWS}{value}/",
            f"{VIEWS}?search={value}",
            f"{VIEWS}?page={value}",
            f"{VIEWS}?{value}={value}",
        ):
            answer = await ask_raw(url, _head(tenant, "Connection: close", method="GET", path=path))
            assert answer.status in {200, 400, 404, 405}, (path, answer.raw)
    for line in (
        "OPTIONS * HTTP/1.1",
        "CONNECT x:1 HTTP/1.1",
        "TRACE / HTTP/1.1",
        "BREW / HTTP/1.1",
        "GET http:// HTTP/1.1",
    ):
        answer = await ask_raw(url, f"{line}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert answer.is_refusal(404) or answer.is_refusal(405), (line, answer.raw)
    for field in ("Authorization: Bearer \xff\xfe", "Authorization: \xff", "X-Request-Id: \xff", "Cookie: \xff=\x7f"):
        sent = f"GET /api/users/@me/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{field}\r\n\r\n".encode("latin-1")
        answer = await ask_raw(url, sent)
        assert answer.status in {400, 401}, (field, answer.raw)


async def test_a_search_is_no_longer_than_a_name(tenant: Tenant) -> None:
    assert (await tenant.call("GET", f"{VIEWS}?search={'x' * 128}"))["count"] == 0
    assert (await tenant.error("GET", f"{VIEWS}?search={'x' * 129}", status=400))["attr"] == "search"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:1", "evil.example:80", "localhost.evil.example", ""])
async def test_links_to_other_pages_do_not_follow_a_host_header(tenant: Tenant, host: str) -> None:
    for number in range(2):
        await tenant.create_view(f"v{number}", "SELECT 1 AS n")
    reported = {
        "Host": host,
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "host=evil.example",
        "X-Forwarded-Proto": "ftp",
    }
    page = (await tenant.http.get(f"{VIEWS}?page_size=1&search=v", headers=reported)).json()
    assert page["next"] == f"/api/projects/{tenant.project_id}{VIEWS}?page_size=1&search=v&page=2"
    back = (await tenant.http.get(httpx.URL(str(tenant.http.base_url)).join(page["next"]), headers=reported)).json()
    assert back["previous"] == page["next"].replace("page=2", "page=1")
    assert "evil" not in str(page) + str(back)


async def test_links_to_other_pages_name_the_address_that_was_asked(stack: DevStack, tenant: Tenant) -> None:
    for number in range(2):
        await tenant.create_view(f"v{number}", "SELECT 1 AS n")
    port = stack.info["api_url"].rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        page = (await tenant.http.get(f"{VIEWS}?page_size=1", headers={"Host": host})).json()
        assert page["next"].startswith(f"http://{host}/api/projects/{tenant.project_id}/")


async def test_a_key_with_many_requests_at_a_time_takes_turns_and_others_notice_little(
    stack: DevStack, tenant: Tenant
) -> None:
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(
        base_url=tenant.http.base_url, headers=tenant.http.headers, limits=limits, timeout=PATIENCE
    ) as http:
        answers = await asyncio.gather(*(http.get(f"{VIEWS}{uuid4()}/") for _ in range(FEW)))
    reported = {answer.status_code for answer in answers}
    assert reported <= {404, 429}, reported
    for answer in answers:
        assert is_error(answer)
        if answer.status_code == 429:
            assert (answer.json()["type"], answer.headers["retry-after"]) == ("throttled_error", "5")
    assert (await tenant.http.get(f"{stack.info['api_url']}/livez")).status_code == 200


async def test_links_to_other_pages_begin_with_the_public_url(tenant: Tenant) -> None:
    for number in range(2):
        await tenant.create_view(f"v{number}", "SELECT 1 AS n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATVIEW_DATABASE_URL", tenant.database_url)
        patch.setenv("MATVIEW_DATA_DIR", str(tenant.data_dir))
        patch.setenv("MATVIEW_TEMPORAL_ADDRESS", tenant.temporal_address)
        patch.setenv("MATVIEW_PUBLIC_URL", "https://matview.example.com/of-us/")
        app = create_app()
    path = f"/api/environments/{tenant.project_id}{VIEWS}"
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://evil.example", headers=tenant.http.headers
        ) as http,
    ):
        page = (await http.get(f"{path}?page_size=1&search=v")).json()
    assert page["next"] == f"https://matview.example.com/of-us{path}?page_size=1&search=v&page=2"


async def test_temporals_own_variables_say_how_its_server_is_reached_over_tls() -> None:
    """The variables are those of docs/deploying.md."""
    given = {
        "TEMPORAL_TLS": "true",
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH": "/ca.pem",
        "TEMPORAL_TLS_SERVER_NAME": "temporal.example.com",
        "TEMPORAL_TLS_CLIENT_CERT_PATH": "/client.pem",
        "TEMPORAL_TLS_CLIENT_KEY_PATH": "/client.key",
    }
    tls = ClientConfigProfile.load(override_env_vars=given).tls
    assert tls is not None
    assert not tls.disabled
    assert tls.server_name == "temporal.example.com"
    assert (str(tls.server_root_ca_cert), str(tls.client_cert), str(tls.client_private_key)) == (
        "/ca.pem",
        "/client.pem",
        "/client.key",
    )
