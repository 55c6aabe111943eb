"""Which addresses a source table may lead to: public ones, and those that the operator names.

A client chooses the URL, and the worker connects to it from inside the operator's network. So loopback, private,
link-local and other special addresses are refused, also when a public name leads to one.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Collection, Sequence
from typing import NamedTuple

from orchestrator.model.errors import InvalidSource, SourceUnavailable

HTTPS_PORT = 443
_RESOLVE_SECONDS = 10.0
# Public by its number, and the metadata service of a cloud all the same.
_NEVER = frozenset({ipaddress.ip_address("168.63.129.16")})
# All that is in use of the public Internet's addresses of version 6.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# Networks of special purpose, some of which older releases of Python call public. Of the first line, a gateway
# translates an address to one of IPv4, which may be any.
_SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        (
            *("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/23", "::/96"),
            *("192.0.0.0/24", "192.88.99.0/24", "100::/64", "3fff::/20", "5f00::/16", "fec0::/10"),
        ),
    )
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Server(NamedTuple):
    """A server by its name, in small letters and without a dot at its end, and its port."""

    host: str
    port: int


class Addresses:
    """Resolves names of servers. `trusted` servers may have any address; they are named by the operator."""

    def __init__(self, trusted: Collection[Server]) -> None:
        self._trusted = frozenset(trusted)

    def trusts(self, server: Server) -> bool:
        """Whether the operator has named the server."""
        return server in self._trusted

    async def resolve(self, server: Server) -> Sequence[str]:
        """The addresses to connect to. They were checked, so the name is not to be resolved again.

        Raises InvalidSource if one of them, or the port, is not one that a source table may lead to, or if there is no
        such name. Raises SourceUnavailable if no server of names answers in time.
        """
        found = await _resolved(server)
        if server not in self._trusted:
            if server.port != HTTPS_PORT:
                raise refusal(f"{server.host} is read at port {HTTPS_PORT} only.")
            for one in found:
                if not is_public(ipaddress.ip_address(one)):
                    raise refusal(
                        f"{server.host} leads to an address that is not public. An operator may allow a server of "
                        "their network by its name, in MATVIEW_SOURCE_URLS."
                    )
        return found


def is_public(address: Address) -> bool:
    """Whether an address is one of the public Internet, and neither a service of a cloud nor of a special purpose."""
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return is_public(mapped)
    if address in _NEVER or address.is_multicast or any(address in network for network in _SPECIAL):
        return False
    return address.is_global and (address.version == 4 or address in _GLOBAL_UNICAST)  # noqa: PLR2004 - IPv4


def refusal(message: str) -> InvalidSource:
    """The error about a URL that is refused."""
    return InvalidSource(message, attr="url_pattern")


async def _resolved(server: Server) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise SourceUnavailable(f"The name {server.host} could not be resolved in time.") from None
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise SourceUnavailable(f"The name {server.host} could not be resolved at the moment.") from None
        raise refusal(f"There is no server of the name {server.host}.") from None
    except (UnicodeError, OSError):
        raise refusal(f"There is no server of the name {server.host}.") from None
    # An address with a scope, as in fe80::1%eth0, has it after a percent sign.
    return [str(where[0]).partition("%")[0] for *_, where in found]
