"""A transport that closes a connection without losing its last answer."""

import asyncio
from collections.abc import Callable
from typing import Any

# For how long, and up to how many bytes, data that a client still sends is read and discarded.
LINGER_SECONDS = 2.0
_MOST_BYTES = 1 << 24


class LingeringTransport(asyncio.Transport):
    """A transport that closes only after a client that is still sending has had time to read.

    A socket that is closed while it has unread bytes is reset. The client that sent them would lose the answer that
    says what was wrong with them.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, may_be_sending: Callable[[], bool]
    ) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._may_be_sending = may_be_sending
        self._timer: asyncio.TimerHandle | None = None
        self._discarded = 0

    def close(self) -> None:
        """Close at once; if the client may be sending, only the sending side, and the rest after LINGER_SECONDS."""
        if self.is_closing():
            return
        if not self._may_be_sending():
            self._transport.close()
            return
        self._timer = self._loop.call_later(LINGER_SECONDS, self._transport.abort)
        self._transport.resume_reading()
        self._transport.write_eof()

    def discard(self, size: int) -> None:
        """Count bytes that arrived after the answer; close at once if they are too many."""
        self._discarded += size
        if self._discarded > _MOST_BYTES:
            self._transport.abort()

    def lost(self) -> None:
        """Cancel the timer, since the connection has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether the connection is closed or closing."""
        return self._timer is not None or self._transport.is_closing()

    def write(self, data: Any) -> None:  # noqa: ANN401 - bytes of any kind
        """Send, unless the connection is closing."""
        if not self.is_closing():
            self._transport.write(data)

    def write_eof(self) -> None:
        """Close the sending side."""
        self._transport.write_eof()

    def pause_reading(self) -> None:
        """Stop reading from the client."""
        if not self.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the client again."""
        if not self.is_closing():
            self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's signature
        """Information on the connection, such as its peer."""
        return self._transport.get_extra_info(name, default)
