"""Bodies of requests: any bytes are read or refused, and soon."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from hypothesis import given, strategies as st

from api.bodies import BadBody, check_storable, read_json
from orchestrator.devstack.stack import DevStack
from tests.contract.rules import ENDPOINTS, JSON, is_error
from tests.fuzz.support import bounded, long_enough
from tests.support.tenants import PATIENCE, Tenant

EXAMPLES = 300
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["\0", "\ud800", "SELECT 1", "v", "never"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["\0", "\ud800"]), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = [
    *("name", "query", "kind", "description", "sync_frequency", "edited_history_id", "soft_update", "deleted", "level"),
    *(
        "view_ids",
        "full_refresh",
        "format",
        "url_pattern",
        "credential",
        "access_key",
        "snapshot_id",
        "pinned",
        "pause_schedule",
    ),
]
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6)
SPOILED = st.builds(
    lambda body, at, piece: body[: at % (len(body) + 1)] + piece + body[at % (len(body) + 1) :],
    BODIES.map(lambda body: json.dumps(body).encode()),
    st.integers(0, 10_000),
    st.binary(max_size=4)
    | st.sampled_from([b"NaN", b"1e999", b"-", b"\\u0000", b"\\ud800", b'"a":1,"a":2', b"[" * 3000, b"9" * 5000]),
)
BYTES = BODIES.map(lambda body: json.dumps(body).encode()) | SPOILED | st.binary(max_size=60)


@bounded(EXAMPLES)
@given(body=BYTES)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        value = read_json(body)
    except (BadBody, json.JSONDecodeError):
        return
    check_storable(value)
    json.dumps(value, allow_nan=False).encode()


@bounded(20)
@given(
    piece=st.sampled_from(
        [
            b"[",
            b"{",
            b'{"a":',
            b"[[],",
            b'"',
            b'\\"',
            b"1",
            b"1,",
            b'{"a":1},',
            b"\\u0000",
            b" ",
            b"\xff",
            b"1e9",
            b"null,",
        ]
    )
)
def test_any_body_of_the_largest_size_is_read_or_refused_soon(piece: bytes) -> None:
    for start, end in ((b"", b""), (b"[", b"1]"), (b'"', b'"'), (b'{"a": ', b"}")):
        body = start + piece * (2_000_000 // len(piece)) + end
        began = time.process_time()
        with suppress(BadBody, json.JSONDecodeError):
            read_json(body)
        assert time.process_time() - began < 20


@pytest.fixture
def http(tenant: Tenant) -> Iterator[httpx.Client]:
    headers = {**tenant.http.headers, **JSON}
    with httpx.Client(base_url=tenant.http.base_url, headers=headers, timeout=PATIENCE) as client:
        yield client


@pytest.mark.timeout(long_enough(EXAMPLES))
async def test_any_body_is_answered_on_every_endpoint(stack: DevStack, tenant: Tenant, http: httpx.Client) -> None:
    view = await tenant.create_view("v", "SELECT 1 AS n")

    @bounded(EXAMPLES // 2)
    @given(body=BYTES, endpoint=st.sampled_from([one for one in ENDPOINTS if one.method in {"POST", "PUT", "PATCH"}]))
    def check(body: bytes, endpoint: object) -> None:
        one = next(known for known in ENDPOINTS if known is endpoint)
        answer = http.request(one.method, one.of(view["id"]), content=body)
        assert answer.status_code < 500, (str(one), body, answer.text)
        assert answer.is_success or is_error(answer)
        assert answer.headers["x-request-id"]

    check()
    assert (await tenant.http.get(f"{stack.info['api_url']}/readyz")).status_code == 200
