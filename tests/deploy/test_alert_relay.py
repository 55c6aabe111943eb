"""The recipe for alerts: a relay that passes events on to chat and e-mail, each to a real receiver on this machine."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from tests.support.tenants import until
from tests.support.webhook_receiver import SECRET, Receiver

RELAY = Path(__file__).parents[2] / "deploy" / "alerts" / "relay.py"
EVENT: dict[str, Any] = {
    "type": "check.failed",
    "timestamp": "2026-01-01T00:00:00Z",
    "data": {
        "project_id": 1,
        "view_id": "v",
        "view_name": "orders",
        "run_id": "r",
        "status": "Failed",
        "trigger": "schedule",
        "workflow_id": "materialize/v",
        "error": "Not published: order_ids (1,200 failing rows).",
        "error_code": "checks_failed",
        "consecutive_failures": None,
        "check": {"id": "c", "label": "order_ids", "severity": "error", "status": "failed", "failing_rows": 1200},
    },
}


class Mailbox:
    """A mail server that takes every message."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            word = line.split()[0].upper() if line.split() else b""
            if word == b"DATA":
                writer.write(b"354 go on\r\n")
                text = await reader.readuntil(b"\r\n.\r\n")
                self.messages.append(message_from_bytes(text, policy=policy.default))
            writer.write(b"221 bye\r\n" if word == b"QUIT" else b"250 done\r\n")
            if word == b"QUIT":
                break
        writer.close()


@asynccontextmanager
async def relaying(*urls: str) -> AsyncIterator[str]:
    """A relay to these services, and its address."""
    environment = os.environ | {"MATVIEW_WEBHOOK_SECRET": SECRET, "ALERT_URLS": " ".join(urls)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(RELAY), "--port", "0", env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        yield line.split()[-1]
    finally:
        process.terminate()
        await process.wait()


async def send(address: str, event: dict[str, Any], event_id: str, secret: str = SECRET) -> int:
    body, moment = json.dumps(event), datetime.now(UTC)
    signature = Webhook(secret).sign(event_id, moment, body)
    headers = {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": signature,
    }
    async with httpx.AsyncClient(timeout=60) as http:
        return (await http.post(address, content=body, headers=headers)).status_code


@pytest.fixture
async def mailbox() -> AsyncIterator[tuple[Mailbox, str]]:
    box = Mailbox()
    async with await asyncio.start_server(box.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield box, f"mailto://127.0.0.1:{port}?from=matview@example.com&to=team@example.com&mode=insecure"


async def test_an_event_reaches_chat_and_e_mail_once(mailbox: tuple[Mailbox, str]) -> None:
    box, mail = mailbox
    chat = Receiver()
    chat.open()
    try:
        async with relaying(chat.url.replace("http:", "json:").partition("?")[0], mail) as address:
            assert await send(address, EVENT, "one") == 204
            assert await send(address, EVENT, "one") == 204
            recovered = EVENT | {"type": "check.recovered", "data": EVENT["data"] | {"error": None}}
            assert await send(address, recovered, "two") == 204
            deliveries = [one.json for one in chat.requests]
            assert [one["title"] for one in deliveries] == ["orders: check.failed", "orders: check.recovered"]
            assert [one["type"] for one in deliveries] == ["failure", "success"]
            assert "order_ids (error): failed, 1,200 failing rows" in deliveries[0]["message"]

            async def arrived() -> bool:
                return len(box.messages) == 2

            await until(arrived, "two messages")
            assert box.messages[0]["subject"] == "orders: check.failed"
            assert box.messages[0]["to"] == "team@example.com"
            text = box.messages[0].get_body(("plain",))
            assert text is not None
            assert "Not published: order_ids" in text.get_content()
    finally:
        chat.close()


async def test_an_event_that_a_service_does_not_take_is_asked_for_again_by_that_service_alone(
    mailbox: tuple[Mailbox, str],
) -> None:
    box, mail = mailbox
    chat = Receiver()
    chat.open()
    url = chat.url.replace("http:", "json:").partition("?")[0]
    chat.close()
    async with relaying(mail, url) as address:
        assert await send(address, EVENT, "one") == 502
        chat.open()
        try:
            assert await send(address, EVENT, "one") == 204
        finally:
            chat.close()
    assert (len(box.messages), len(chat.requests)) == (1, 1)


async def test_what_is_not_signed_by_matview_goes_nowhere(mailbox: tuple[Mailbox, str]) -> None:
    box, mail = mailbox
    other = "whsec_" + "b3RoZXIgdGhpcnR5LXR3byBieXRlcyBzZWNyZXQh"
    async with relaying(mail) as address:
        assert await send(address, EVENT, "one", secret=other) == 401
        assert await send(address, {"type": "x"}, "two") == 400
        async with httpx.AsyncClient() as http:
            assert (await http.post(address, content=b"{}")).status_code == 401
        port = int(address.rstrip("/").rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\ncontent-length: 1048577\r\n\r\n")
        assert b" 413 " in await reader.readline()
        writer.close()
    assert box.messages == []


async def test_a_url_of_no_service_is_said_without_its_secrets() -> None:
    environment = os.environ | {"MATVIEW_WEBHOOK_SECRET": SECRET, "ALERT_URLS": "slak://SECRET/token"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(RELAY), "--port", "0", env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, error = await process.communicate()
    assert process.returncode == 1
    assert re.search(rb"error: this is no URL of a service: slak:", error)
    assert b"SECRET" not in error
