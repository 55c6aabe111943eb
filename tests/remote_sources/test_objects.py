"""Listing and reading the files of a bucket, and one file at an HTTPS address."""

import asyncio
from contextlib import suppress

import obstore
import pytest

from orchestrator.model.errors import InputMissing, InputReplaced, InvalidSource, SourceUnavailable
from orchestrator.model.source_table import Credential
from orchestrator.remote_sources.locations import S3Defaults
from orchestrator.remote_sources.objects import RemoteObjects
from tests.remote_sources.conftest import Bucket
from tests.remote_sources.web_files import WebFile, web_files
from tests.support.faulty_proxy import FaultyProxy
from tests.support.s3_server import BUCKET, S3Server

ODD = ["a/y z.csv", "a/p%41.csv", "a/ü.csv", "a/[1]*.csv", "a/q?.csv", "a/#h.csv", "a/it's.csv", "a/+.csv", "a/&=.csv"]


async def test_a_pattern_lists_the_files_that_match_and_each_is_read_in_ranges(bucket: Bucket) -> None:
    for name in ("a/1.csv", "a/2.csv", "a/.3.csv", "a/b/4.csv", "a/5.txt"):
        await bucket.put(name, name.encode() * 10)
    table = await bucket.table("a/*.csv")
    files = await table.list_files()
    assert [file.url for file in files] == [f"{bucket.url}/a/1.csv", f"{bucket.url}/a/2.csv"]
    assert {file.size for file in files} == {70}
    assert await table.read(files[1], 2, 9) == b"2.csva/"
    assert await bucket.names("*/*/4.csv") == ["a/b/4.csv"]
    assert await bucket.names("a/none*.csv") == []
    assert await bucket.names("a/none.csv") == []


async def test_names_with_signs_that_mean_something_elsewhere_are_plain_names(bucket: Bucket) -> None:
    for name in ODD:
        await bucket.put(name, name.encode())
    table = await bucket.table("a/*.csv")
    files = await table.list_files()
    assert [file.url for file in files] == sorted(f"{bucket.url}/{name}" for name in ODD)
    for file in files:
        assert bucket.url + "/" + (await table.read(file, 0, file.size)).decode() == file.url


async def test_a_file_that_was_replaced_or_is_gone_is_never_read_as_the_one_before(bucket: Bucket) -> None:
    await bucket.put("a.csv", b"before")
    table = await bucket.table("a.csv")
    (file,) = await table.list_files()
    await bucket.put("a.csv", b"after!")
    with pytest.raises(InputReplaced, match=r"a\.csv was replaced"):
        await table.read(file, 0, 6)
    await obstore.delete_async(bucket.objects, "a.csv")
    with pytest.raises(InputMissing, match=r"a\.csv no longer exists"):
        await table.read(file, 0, 6)


async def test_equal_content_has_an_equal_version(bucket: Bucket) -> None:
    await bucket.put("a.csv", b"same")
    (before,) = await (await bucket.table("a.csv")).list_files()
    await bucket.put("a.csv", b"same")
    (after,) = await (await bucket.table("a.csv")).list_files()
    assert before.version == after.version


async def test_without_the_right_credential_nothing_is_read(bucket: Bucket) -> None:
    await bucket.put("a.csv", b"1")
    with pytest.raises(InvalidSource, match="its server refuses it"):
        await (await bucket.servers.open(f"{bucket.url}/a.csv", None)).list_files()


async def test_keys_of_the_environment_are_not_used(
    bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bucket.put("a.csv", b"1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_access_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token-of-the-environment")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(InvalidSource):
        await (await bucket.servers.open(f"{bucket.url}/a.csv", None)).list_files()
    (file,) = await (await bucket.table("a.csv")).list_files()
    assert file.size == 1


async def test_no_error_quotes_a_key(bucket: Bucket) -> None:
    credential = Credential(access_key="AKIA-of-nowhere", access_secret="a-secret-of-nowhere")  # noqa: S106 - of a test
    await bucket.put("a.csv", b"1")
    async with FaultyProxy(bucket.url.rpartition(f"/{BUCKET}/")[0], seed=1).running() as network:
        network.rate = 1.0
        servers = RemoteObjects([f"{network.endpoint}/"], S3Defaults())
        table = await servers.open(f"{network.endpoint}/{BUCKET}/a.csv", credential)
        with pytest.raises(SourceUnavailable) as raised:
            await table.list_files()
        await servers.close()
    assert "of-nowhere" not in raised.value.message


async def test_a_network_that_fails_now_and_then_is_asked_again(bucket: Bucket, s3: S3Server) -> None:
    await bucket.put("a.csv", b"0123456789")
    async with FaultyProxy(s3.endpoint, seed=3).running() as network:
        servers = RemoteObjects([f"{network.endpoint}/"], S3Defaults())
        table = await servers.open(bucket.url.replace(s3.endpoint, network.endpoint) + "/a.csv", bucket.credential)
        (file,) = await table.list_files()
        network.rate = 0.3
        read, failed = 0, 0
        for start in range(30):
            try:
                assert await table.read(file, start % 9, start % 9 + 1) == b"0123456789"[start % 9 : start % 9 + 1]
                read += 1
            except SourceUnavailable:
                failed += 1
        assert sum(network.faults.values()) > 3
        assert read > 25
        await servers.close()


async def test_a_plain_file_is_read_by_its_etag_or_by_the_time_of_its_change() -> None:
    async with web_files() as web:
        servers = RemoteObjects([f"{web.url}/"], S3Defaults())
        try:
            for answer in (WebFile(b"rows", etag='"1"'), WebFile(b"rows", etag='W/"1"'), WebFile(b"rows")):
                web.files["/a b.csv"] = answer
                table = await servers.open(f"{web.url}/a%20b.csv", None)
                (file,) = await table.list_files()
                assert await table.read(file, 1, 3) == b"ow"
                assert file.version.startswith("etag:" if answer.etag == '"1"' else "modified:")
                web.files["/a b.csv"] = answer.changed(b"ROWS")
                with pytest.raises(InputReplaced):
                    await table.read(file, 1, 3)
        finally:
            await servers.close()


async def test_a_file_of_which_nothing_would_show_a_change_is_refused() -> None:
    async with web_files() as web:
        servers = RemoteObjects([f"{web.url}/"], S3Defaults())
        try:
            web.files["/a.csv"] = WebFile(b"rows", modified=None)
            with pytest.raises(InvalidSource, match="neither an ETag nor when it was last changed"):
                await (await servers.open(f"{web.url}/a.csv", None)).list_files()
            web.files["/a.csv"] = WebFile(b"rows", gives_ranges=False)
            table = await servers.open(f"{web.url}/a.csv", None)
            (file,) = await table.list_files()
            with pytest.raises(InvalidSource, match="gives no parts of a file"):
                await table.read(file, 1, 3)
        finally:
            await servers.close()


async def test_a_plain_file_is_read_without_the_credential() -> None:
    async with web_files() as web:
        servers = RemoteObjects([f"{web.url}/"], S3Defaults())
        web.files["/a.csv"] = WebFile(b"rows")
        table = await servers.open(f"{web.url}/a.csv", Credential(access_key="a-key", access_secret="b"))  # noqa: S106 - of a test
        (file,) = await table.list_files()
        assert await table.read(file, 0, 4) == b"rows"
        assert not any("a-key" in request for request in web.requests)
        await servers.close()


async def test_a_server_that_sends_more_than_it_was_asked_for_is_not_read_to_its_end() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        head = 'ETag: "1"\r\nLast-Modified: Thu, 01 Jan 2026 12:00:00 GMT\r\nConnection: close\r\n'
        if request.startswith("HEAD"):
            writer.write(f"HTTP/1.1 200 OK\r\n{head}Content-Length: 10\r\n\r\n".encode())
        else:
            ranged = f"Content-Range: bytes 2-4/10\r\nContent-Length: {4 << 30}\r\n"
            writer.write(f"HTTP/1.1 206 Partial Content\r\n{head}{ranged}\r\n".encode())
            with suppress(OSError):
                while sent < 4 << 30:
                    writer.write(b"x" * (64 << 10))
                    await writer.drain()
                    sent += 64 << 10
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    servers = RemoteObjects([f"{url}/"], S3Defaults())
    try:
        table = await servers.open(f"{url}/a.csv", None)
        (file,) = await table.list_files()
        with pytest.raises(InputReplaced):
            await asyncio.wait_for(table.read(file, 2, 5), 30)
        assert sent < 64 << 20
    finally:
        await servers.close()
        server.close()
