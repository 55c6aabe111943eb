"""Connections: which requests on them are accepted, how long they may take, and how many there may be."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.api.raw import Answer, ask_raw, connect, one_answer
from tests.api.server import echo_server
from tests.support.tenants import PATIENCE

GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def head(*fields: bytes, line: bytes = b"POST / HTTP/1.1", host: bytes = b"Host: x") -> bytes:
    return b"\r\n".join([line, *([host] if host else []), *fields, b"", b""])


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    async with echo_server(head_seconds=PATIENCE, body_seconds=PATIENCE) as found:
        yield found


AMBIGUOUS = {
    "length and chunks": head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunks and length": head(b"Transfer-Encoding: chunked", b"Content-Length: 0") + b"0\r\n\r\n",
    "names in other cases": head(b"content-LENGTH: 0", b"TRANSFER-encoding: chunked") + b"0\r\n\r\n",
    "two lengths": head(b"Content-Length: 0", b"Content-Length: 5") + b"hello",
    "two equal lengths": head(b"Content-Length: 5", b"Content-Length: 5") + b"hello",
    "a list of lengths": head(b"Content-Length: 5, 5") + b"hello",
    "a length with a sign": head(b"Content-Length: +5") + b"hello",
    "a length that is no number": head(b"Content-Length: 0x5") + b"hello",
    "a negative length": head(b"Content-Length: -1"),
    "two encodings": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity") + b"0\r\n\r\n",
    "an encoding of HTTP/1.0": head(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0") + b"0\r\n\r\n",
    "blanks before the colon": head(b"Content-Length : 5") + b"hello",
    "a field over two lines": head(b"X: a", b" Content-Length: 5") + b"hello",
    "a field over two lines, by a tab": head(b"X: a", b"\tb"),
    "the first field over two lines": head(host=b"") .replace(b"\r\n\r\n", b"\r\n Host: x\r\n\r\n"),
    "lines that end with LF": b"GET / HTTP/1.1\nHost: x\n\n",
    "one line that ends with LF": b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    "a CR alone": head(b"X: a\rContent-Length: 5"),
    "a NUL in a field": head(b"X: a\x00b"),
    "a NUL in the path": head(line=b"GET /a\x00b HTTP/1.1"),
    "a NUL in a name": head(b"X\x00: a"),
    "two hosts": head(b"Host: y"),
    "no host": head(host=b""),
    "a host with a path": head(host=b"Host: x/y"),
    "a host with a user": head(host=b"Host: user@x"),
    "a host with a blank": head(host=b"Host: x y"),
    "no name": head(b": value"),
    "no colon": head(b"value"),
    "a path with a blank": head(line=b"GET /a b HTTP/1.1"),
    "bytes beyond ASCII in the path": head(line="GET /ä HTTP/1.1".encode()),
    "another protocol": head(line=b"GET / HTTP/9.9"),
    "no protocol": b"GET /\r\n\r\n",
    "an empty line first": b"\r\n" + head(),
    "a greeting of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no size of a chunk": head(b"Transfer-Encoding: chunked") + b"x\r\n",
    "a size of a chunk that is too long": head(b"Transfer-Encoding: chunked") + b"0" * 40 + b"5\r\nhello\r\n0\r\n\r\n",
    "a chunk that is longer than it says": head(b"Transfer-Encoding: chunked") + b"2\r\nhello\r\n0\r\n\r\n",
    "a size that ends with LF": head(b"Transfer-Encoding: chunked") + b"5\nhello\r\n0\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_what_two_programs_could_read_differently_is_refused_and_ends_the_connection(
    url: str, sent: bytes
) -> None:
    answer = await ask_raw(url, sent + SMUGGLED)
    assert answer.is_refusal(400), answer.raw


async def test_an_encoding_that_is_not_known_is_refused(url: str) -> None:
    for encoding in (b"gzip", b"chunked, chunked", b"xchunked", b"\x0bchunked"):
        answer = await ask_raw(url, head(b"Transfer-Encoding: " + encoding) + b"0\r\n\r\n" + SMUGGLED)
        assert answer.answers == 1, encoding
        assert answer.status in {400, 501}, answer.raw


@pytest.mark.parametrize(
    "sent",
    [
        head(*[b"X-%d: y" % number for number in range(200)]),
        head(*[b"X: " + b"y" * 100 for _ in range(90)], b"Y: " + b"y" * 40_000),
        head(line=b"GET /" + b"a" * 40_000 + b" HTTP/1.1"),
        b"A" * 100_000,
    ],
    ids=["many fields", "long fields", "a long path", "a line without an end"],
)
async def test_a_head_that_is_too_large_is_refused(url: str, sent: bytes) -> None:
    assert (await ask_raw(url, sent)).is_refusal(431)


async def test_a_connection_carries_one_request_after_another_however_it_is_cut_into_pieces(url: str) -> None:
    reader, writer = await connect(url)
    for number, size in enumerate([1, 2, 3, 7, 1000]):
        sent = GET % number if number % 2 else POST
        for start in range(0, len(sent), size):
            writer.write(sent[start : start + size])
            await writer.drain()
        answer = await one_answer(reader)
        assert (answer.status, answer.body["bytes"]) == (200, 0 if number % 2 else 5)
    chunked = head(b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: z\r\n\r\n"
    writer.write(chunked)
    assert (await one_answer(reader)).body["bytes"] == 5
    writer.close()
    await writer.wait_closed()


async def test_what_is_sent_before_the_answer_to_a_request_is_not_answered(url: str) -> None:
    for ahead in (GET % 1 + GET % 2, POST + SMUGGLED, head(b"Transfer-Encoding: chunked") + b"0\r\n\r\n" + SMUGGLED):
        answer = await ask_raw(url, ahead)
        assert (answer.answers, answer.status) == (1, 200), answer.raw
        assert answer.body["path"] != "/smuggled"


async def test_a_request_that_waits_for_the_word_to_go_on_gets_it(url: str) -> None:
    reader, writer = await connect(url)
    writer.write(head(b"Expect: 100-continue", b"Content-Length: 5"))
    async with asyncio.timeout(PATIENCE):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    writer.write(b"hello")
    assert (await one_answer(reader)).body["bytes"] == 5
    writer.close()


async def test_another_protocol_is_not_spoken(url: str) -> None:
    fields = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: eA==")
    reader, writer = await connect(url)
    writer.write(head(*fields, line=b"GET / HTTP/1.1"))
    assert (await one_answer(reader)).status == 200
    writer.close()


async def test_a_client_that_is_still_sending_reads_why_it_was_refused(url: str) -> None:
    fields = head(b"Content-Length: 8000000", line=b"POST /unread HTTP/1.1")
    answer = await ask_raw(url, fields, *[b"x" * 100_000] * 80)
    assert (answer.answers, answer.status) == (1, 200)


async def test_a_head_that_does_not_come_in_time_is_refused() -> None:
    async with echo_server(head_seconds=0.5) as url:
        assert (await ask_raw(url, b"GET / HTTP/1.1\r\nHo")).is_refusal(408)
        assert (await ask_raw(url)).raw == b""  # nothing was asked, so nothing is answered
        reader, writer = await connect(url)
        writer.write(GET % 1)
        assert (await one_answer(reader)).status == 200
        writer.write(b"GET")  # the head of a connection's second request comes too late as well
        assert Answer(await reader.read()).is_refusal(408)
        writer.close()


async def test_a_head_that_comes_byte_by_byte_has_no_more_time() -> None:
    async with echo_server(head_seconds=1) as url:
        reader, writer = await connect(url)

        async def drip() -> None:
            while True:
                writer.write(b"X")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(PATIENCE):
            answer = Answer(await reader.read())
        dripping.cancel()
        writer.close()
        assert answer.is_refusal(408)


@pytest.mark.parametrize("field", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
async def test_a_body_that_does_not_come_in_time_is_refused(field: bytes) -> None:
    async with echo_server(body_seconds=0.5) as url:
        assert (await ask_raw(url, head(field))).is_refusal(408)


async def test_a_request_that_is_worked_on_has_the_time_that_it_takes() -> None:
    async with echo_server(head_seconds=0.1, body_seconds=0.1) as url:
        reader, writer = await connect(url)
        writer.write(head(b"Content-Length: 4") + b"wait")
        assert (await one_answer(reader)).status == 200
        writer.close()


async def test_an_answer_that_is_not_read_ends_the_connection() -> None:
    async with echo_server(unread_seconds=0.5) as url:
        reader, writer = await connect(url)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(2)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await one_answer(reader)
        writer.close()


async def test_connections_that_send_nothing_give_way_to_those_that_do() -> None:
    async with echo_server(in_all=20, of_one=10, head_seconds=PATIENCE) as url:
        held = []
        for number in range(60):
            held.append(await connect(url))
            held[-1][1].write([b"", b"GET / HT", b"G"][number % 3])
            if number % 10 == 9:
                reader, writer = await connect(url)
                writer.write(GET % number)
                assert (await one_answer(reader)).status == 200
                writer.close()
        for _, writer in held:
            writer.close()


async def test_a_client_whose_connections_are_all_at_work_gets_no_further_one() -> None:
    async with echo_server(of_one=3) as url:
        busy = [await connect(url) for _ in range(3)]
        for _, writer in busy:
            writer.write(head(b"Content-Length: 4"))
        await asyncio.sleep(0.2)
        assert (await ask_raw(url)).is_refusal(503)
        for reader, writer in busy:
            writer.write(b"wait")
            assert (await one_answer(reader)).status == 200
            writer.close()


async def test_a_proxy_that_is_trusted_has_as_many_connections_as_there_are() -> None:
    async with echo_server(of_one=2, trusted=("127.0.0.0/8",)) as url:
        busy = [await connect(url) for _ in range(5)]
        for reader, writer in busy:
            writer.write(GET % 1)
            assert (await one_answer(reader)).status == 200
        for _, writer in busy:
            writer.close()


@pytest.mark.parametrize(
    ("trusted", "client", "scheme"),
    [((), "127.0.0.1", "http"), (("10.0.0.0/8",), "127.0.0.1", "http"), (("127.0.0.1/32",), "192.0.2.7", "https")],
)
async def test_what_a_proxy_says_of_its_client_is_believed_if_the_proxy_is_trusted(
    trusted: tuple[str, ...], client: str, scheme: str
) -> None:
    async with echo_server(trusted=trusted) as url:
        reader, writer = await connect(url)
        forwarded = (b"X-Forwarded-For: 203.0.113.1, 192.0.2.7", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil")
        writer.write(head(*forwarded, line=b"GET / HTTP/1.1"))
        body = (await one_answer(reader)).body
        assert (body["client"], body["scheme"]) == (client, scheme)
        writer.close()
