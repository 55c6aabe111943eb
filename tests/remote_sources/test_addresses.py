"""Which servers a source table may lead to."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.model.errors import InvalidSource, SourceUnavailable
from orchestrator.remote_sources.addresses import Addresses, Server, is_public

NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 - it is refused
    *("127.0.0.1", "127.8.9.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("100.100.100.200", "192.0.0.192", "198.18.0.1", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255"),
    *("168.63.129.16", "192.0.2.1", "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "::7f00:1"),
    *("2001:0:7f00:1::", "::ffff:0:127.0.0.1", "4000::1", "e000::1"),
]
# Each is a way to write the loopback address, or a name that stands for it.
LOOPBACK = ["127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "localhost", "::1"]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_known_as_one(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "52.216.0.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_a_public_address_is_known_as_one(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", LOOPBACK)
async def test_no_way_to_write_the_loopback_address_leads_there(host: str) -> None:
    with pytest.raises(InvalidSource, match="not public"):
        await Addresses([]).resolve(Server(host, 443))


async def test_a_server_that_the_operator_names_may_be_in_their_network() -> None:
    trusted = Server("127.0.0.1", 9000)
    assert await Addresses([trusted]).resolve(trusted) == ["127.0.0.1"]
    with pytest.raises(InvalidSource):
        await Addresses([trusted]).resolve(Server("127.0.0.1", 9001))


async def test_another_port_of_a_public_server_is_refused() -> None:
    with pytest.raises(InvalidSource, match="port 443 only"):
        await Addresses([]).resolve(Server("8.8.8.8", 22))


def _answering(monkeypatch: pytest.MonkeyPatch, answer: Sequence[str] | Exception) -> None:
    """Have the servers of names answer that."""

    async def resolved(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in answer]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolved)


async def test_a_name_with_a_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _answering(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(InvalidSource, match=r"data\.example leads to an address that is not public"):
        await Addresses([]).resolve(Server("data.example", 443))


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), InvalidSource),
        (socket.gaierror(socket.EAI_AGAIN, "later"), SourceUnavailable),
        (UnicodeError("too long"), InvalidSource),
    ],
)
async def test_a_name_that_does_not_resolve_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[Exception]
) -> None:
    _answering(monkeypatch, error)
    with pytest.raises(raised, match=r"data\.example"):
        await Addresses([]).resolve(Server("data.example", 443))
