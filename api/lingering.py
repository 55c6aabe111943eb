"""A connection that is closed without losing its last answer."""

import asyncio
from collections.abc import Callable
from typing import Any

# How long, and how much of, what a client still sends is taken and thrown away.
LINGER_SECONDS = 2.0
_MOST_BYTES = 1 << 24


class LingeringTransport(asyncio.Transport):
    """Closes only once a client that is still sending has had the time to read.

    A socket that is closed while there are bytes to read from it is reset, and the client that sent them loses the
    answer which says what was wrong with them.
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
        """Say that nothing more will be sent; close at once, or when the client has had its time."""
        if self.is_closing():
            return
        if not self._may_be_sending():
            self._transport.close()
            return
        self._timer = self._loop.call_later(LINGER_SECONDS, self._transport.abort)
        self._transport.resume_reading()
        self._transport.write_eof()

    def discard(self, size: int) -> None:
        """Count what a client sent although it can be of no use any more."""
        self._discarded += size
        if self._discarded > _MOST_BYTES:
            self._transport.abort()

    def lost(self) -> None:
        """Forget the timer: the connection is over."""
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._timer is not None or self._transport.is_closing()

    def write(self, data: Any) -> None:  # noqa: ANN401 - bytes of any kind
        """Send, unless it is about to be closed."""
        if not self.is_closing():
            self._transport.write(data)

    def write_eof(self) -> None:
        """Say that nothing more will be sent."""
        self._transport.write_eof()

    def pause_reading(self) -> None:
        """Let what the client sends wait."""
        if not self.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take what the client sends."""
        if not self.is_closing():
            self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's signature
        """What is known of the connection."""
        return self._transport.get_extra_info(name, default)
