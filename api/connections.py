"""How many connections there may be, in all and from one client, and which of them gives way to a new one.

A connection whose request has not come yet gives way to one that may: so a
client that opens connections and sends nothing takes no place away from others.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Protocol

Network = IPv4Network | IPv6Network
_V6_CLIENT = 64  # the bits of an IPv6 address that one client usually has for itself are the others


class Connection(Protocol):
    """What is counted."""

    def give_way(self) -> None:
        """End at once: the place is needed."""


@dataclass(frozen=True)
class Bounds:
    """The most connections in all, and of one client. The proxies of `trusted` stand for many clients.

    A head has `head_seconds` from when the connection is made or its first byte comes, a body `body_seconds` from the
    end of its head, and a client may take nothing of an answer that it asked for during `unread_seconds`.
    """

    in_all: int
    of_one: int
    trusted: Sequence[Network] = ()
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    unread_seconds: float = 60.0


@dataclass
class _Client:
    """The connections of one address. Those that wait for a request stand in the order in which they began to."""

    count: int = 0
    waiting: dict[Connection, None] = field(default_factory=dict)


class Register:
    """The connections that are open."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._clients: dict[str, _Client] = defaultdict(_Client)
        self._client_of: dict[Connection, str] = {}

    def __len__(self) -> int:
        return len(self._client_of)

    def admit(self, connection: Connection, host: str | None) -> bool:
        """Count a new connection, which waits for its first request; False if there is no place for it."""
        name = client_of(host)
        if self._clients[name].count >= self.bounds.of_one and not self._is_trusted(host):
            self._end_oldest(name)
            if self._clients[name].count >= self.bounds.of_one:
                return False
        if len(self._client_of) >= self.bounds.in_all and not self._end_one_of_many():
            self._forget_if_gone(name)
            return False
        self._client_of[connection] = name
        client = self._clients[name]
        client.count += 1
        client.waiting[connection] = None
        return True

    def is_waiting(self, connection: Connection) -> None:
        """Note that a connection has nothing to do until its next request has come."""
        if connection in self._client_of:
            self._clients[self._client_of[connection]].waiting[connection] = None

    def is_working(self, connection: Connection) -> None:
        """Note that a request has come: from now on the connection gives way to none."""
        if connection in self._client_of:
            self._clients[self._client_of[connection]].waiting.pop(connection, None)

    def leave(self, connection: Connection) -> None:
        """Forget a connection that is over. Repeatable."""
        name = self._client_of.pop(connection, None)
        if name is not None:
            self._clients[name].count -= 1
            self._clients[name].waiting.pop(connection, None)
            self._forget_if_gone(name)

    def _end_oldest(self, name: str) -> bool:
        waiting = self._clients[name].waiting
        if not waiting:
            return False
        oldest = next(iter(waiting))
        self.leave(oldest)
        oldest.give_way()
        return True

    def _end_one_of_many(self) -> bool:
        """End a connection that waits, of the client that has the most."""
        idle = [name for name, client in self._clients.items() if client.waiting]
        return bool(idle) and self._end_oldest(max(idle, key=lambda name: self._clients[name].count))

    def _forget_if_gone(self, name: str) -> None:
        if name in self._clients and self._clients[name].count == 0:
            del self._clients[name]

    def _is_trusted(self, host: str | None) -> bool:
        try:
            address = ip_address(host or "")
        except ValueError:
            return True  # a socket that is no network's, such as a Unix socket
        return any(address in network for network in self.bounds.trusted)


def client_of(host: str | None) -> str:
    """What counts as one client: an IPv4 address, or the network of 64 bits that an IPv6 address lies in."""
    try:
        address = ip_address(host or "")
    except ValueError:
        return ""
    if address.version == 4:  # noqa: PLR2004 - the version of the protocol
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address.packed, _V6_CLIENT), strict=False))
