"""The limits on open connections, in all and per client, and which connection is closed for a new one.

At a limit, a connection that waits for its next request is closed for the new one. So a client that opens connections
and sends nothing takes no place from others.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Protocol

Network = IPv4Network | IPv6Network
_V6_CLIENT = 64  # prefix length: one client usually has the whole network


class Connection(Protocol):
    """A connection that is counted, and can be closed for another."""

    def give_way(self) -> None:
        """Close at once, so that a new connection can take the place."""


@dataclass(frozen=True)
class Bounds:
    """The most connections in all and of one client, and limits of time.

    `trusted` proxies serve many clients, so they have no limit as one client.

    The head of a request has `head_seconds` from the start of the connection, or from its own first byte if it is a
    later request. The body has `body_seconds` from the end of the head. A connection is closed if the client reads
    nothing of an answer for `unread_seconds`.
    """

    in_all: int
    of_one: int
    trusted: Sequence[Network] = ()
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    unread_seconds: float = 60.0


@dataclass
class _Client:
    """The connections of one client. `waiting` holds those without a request, the longest waiting first."""

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

    def mark_waiting(self, connection: Connection) -> None:
        """Note that a connection waits for its next request."""
        if connection in self._client_of:
            self._clients[self._client_of[connection]].waiting[connection] = None

    def mark_working(self, connection: Connection) -> None:
        """Note that a request has arrived. The connection is no longer closed for another."""
        if connection in self._client_of:
            self._clients[self._client_of[connection]].waiting.pop(connection, None)

    def leave(self, connection: Connection) -> None:
        """Remove a connection that has ended. May be called again."""
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
        """Close a waiting connection of the client with the most connections; False if none waits."""
        idle = [name for name, client in self._clients.items() if client.waiting]
        return bool(idle) and self._end_oldest(max(idle, key=lambda name: self._clients[name].count))

    def _forget_if_gone(self, name: str) -> None:
        if name in self._clients and self._clients[name].count == 0:
            del self._clients[name]

    def _is_trusted(self, host: str | None) -> bool:
        try:
            address = ip_address(host or "")
        except ValueError:
            return True  # no IP address, as with a Unix socket
        return any(address in network for network in self.bounds.trusted)


def client_of(host: str | None) -> str:
    """The key of a client: its IPv4 address, or the /64 network of its IPv6 address; empty without an IP address."""
    try:
        address = ip_address(host or "")
    except ValueError:
        return ""
    if address.version == 4:  # noqa: PLR2004 - the version of the protocol
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address.packed, _V6_CLIENT), strict=False))
