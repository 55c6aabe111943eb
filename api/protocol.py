"""uvicorn's HTTP/1.1 protocol with limits for an open port: of time, of connections, and of ambiguous heads.

uvicorn limits neither the time that a head or a body may take nor the connections of one client. It also accepts heads
that two programs can read differently. Other ASGI servers have at most a time limit for heads. None counts connections
per client, which is needed against a client that opens a thousand of them.
"""

import asyncio
import json
import logging
from collections import Counter
from http import HTTPStatus
from typing import Any, ClassVar
from uuid import uuid4

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.connections import Register
from api.heads import BadHead, HeadReader
from api.lingering import LingeringTransport

logger = logging.getLogger(__name__)

# The extension in the ASGI scope by which the application ends the connection in the middle of its answer. ASGI itself
# has no way to do so but an exception, which uvicorn logs with its traceback.
BREAK_OFF = "matview.break_off"
# The extension by which it says that its answer has no end of its own. Otherwise the server would wait for that end
# when it is to stop.
ENDLESS = "matview.endless"
_KINDS = {HTTPStatus.SERVICE_UNAVAILABLE: "server_error"}
_LOG_SECONDS = 60.0


class GuardedProtocol(H11Protocol):
    """One connection. `register` holds all connections of the server, and `refusals` logs those that were ended."""

    register: ClassVar[Register]
    refusals: ClassVar["Refusals"]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's has it
        """Accept a new connection, or answer 503 if there are too many."""
        self._head = HeadReader()
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._is_pipelined = False
        self._line = LingeringTransport(transport, self.loop, self._may_be_sending)
        super().connection_made(self._line)
        if not self.register.admit(self, self.client[0] if self.client else None):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "There are too many connections. Try again in a moment.")
            return
        self._limit(self.register.bounds.head_seconds, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the register, and cancel its timers."""
        self.register.leave(self)
        self._limit(None)
        self._watch_reader(waiting=False)
        self._unset_keepalive_if_required()
        self._line.lost()
        super().connection_lost(exc)

    def give_way(self) -> None:
        """Close at once, so that a new connection can take the place."""
        self.refusals.note("gave way to a new connection")
        self.transport.abort()

    def break_off(self) -> None:
        """Close in the middle of an answer, so that its client sees that it is not complete."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def shutdown(self) -> None:
        """Finish the current answer and close; an answer without an end ends now."""
        is_endless = self.scope is not None and ENDLESS in self.scope.get("extensions", {})
        if is_endless and self.cycle is not None and not self.cycle.response_complete:
            self.break_off()
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Pass on received bytes as part of a head or a body; discard them if the connection is closing."""
        if self.transport.is_closing():
            self._line.discard(len(data))
        elif self.conn.their_state is h11.IDLE:
            self._receive_head(data)
        elif self.conn.their_state is h11.SEND_BODY:
            self._receive_body(data)
        else:
            self._end_after_answer()

    def on_response_complete(self) -> None:
        """Wait for the next request, or end the connection if the body of this one has not fully arrived."""
        self._limit(None)
        self.register.mark_waiting(self)
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.close()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words
        """Answer a request that h11 cannot parse."""
        self._refuse(HTTPStatus.BAD_REQUEST, "This is not a valid HTTP request.")

    def pause_writing(self) -> None:
        """Pause writing, and start the time limit for the client to read."""
        super().pause_writing()
        self._watch_reader(waiting=True)

    def resume_writing(self) -> None:
        """Write again, and cancel that time limit."""
        super().resume_writing()
        self._watch_reader(waiting=False)

    def _should_upgrade(self) -> bool:
        return False  # the API has no other protocol, such as WebSocket

    def _receive_head(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._deadline is None:  # the first byte of a later request on this connection
            self._limit(self.register.bounds.head_seconds, self._head_is_late)
        try:
            found = self._head.feed(data)
        except BadHead as error:
            self._refuse(error.status, error.detail)
            return
        if found is not None:
            head, rest = found
            self._limit(None)
            self.register.mark_working(self)
            self._feed(head)
            if self.scope is not None:  # the application is called only later, by the event loop
                self.scope["extensions"] = {BREAK_OFF: {"close": self.break_off}}
            self._receive_rest(rest)

    def _receive_rest(self, rest: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.SEND_BODY:
            self._limit(self.register.bounds.body_seconds, self._body_is_late)
            self._receive_body(rest)
        elif rest:
            self._end_after_answer()

    def _receive_body(self, data: bytes) -> None:
        if data:
            self._feed(data)
        if self.conn.their_state is not h11.SEND_BODY:
            self._limit(None)
            if self.conn.trailing_data[0]:
                self._end_after_answer()

    def _feed(self, data: bytes) -> None:
        self.conn.receive_data(data)
        self.handle_events()

    def _end_after_answer(self) -> None:
        """Answer the current request, but no request that was pipelined behind it, and close then.

        No client that is used for APIs pipelines requests. Such bytes may be the rest of a request whose end a proxy
        saw elsewhere.
        """
        self._is_pipelined = True
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _may_be_sending(self) -> bool:
        """Whether the client may still be sending."""
        finished = (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)
        is_between = self.conn.their_state is h11.IDLE and self._head.is_empty
        return self._is_pipelined or not (is_between or self.conn.their_state in finished)

    def _limit(self, seconds: float | None, late: Any = None) -> None:  # noqa: ANN401 - what to call then
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, late)

    def _watch_reader(self, *, waiting: bool) -> None:
        if self._unread is not None:
            self._unread.cancel()
        self._unread = self.loop.call_later(self.register.bounds.unread_seconds, self._is_not_read) if waiting else None

    def _is_not_read(self) -> None:
        self.refusals.note("its answer was not read in time")
        self.transport.abort()

    def _head_is_late(self) -> None:
        if self._head.is_empty:
            self.transport.close()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The head of the request did not come in time.")

    def _body_is_late(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The body of the request did not come in time.")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer with an error, unless the application has begun its answer, and end the connection."""
        self._limit(None)
        self.refusals.note(detail)
        if self.transport.is_closing():
            return
        self.register.mark_waiting(self)
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_answer(status, detail, self.server_state.default_headers))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._is_pipelined = True  # further requests on this connection are not read
        self.transport.close()


class Refusals:
    """Logs how many connections were ended and why, once a minute at most."""

    def __init__(self, loop_time: Any = None) -> None:  # noqa: ANN401 - a clock
        self._clock = loop_time or (lambda: asyncio.get_running_loop().time())
        self._counts: Counter[str] = Counter()
        self._logged_at: float | None = None

    def note(self, reason: str) -> None:
        """Count one, and log the counts if the last line is old enough."""
        self._counts[reason] += 1
        now = self._clock()
        if self._logged_at is None or now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            message = "; ".join(f"{count} times: {reason}" for reason, count in self._counts.most_common())
            logger.warning("connections that were ended: %s", message)
            self._counts.clear()


def _answer(status: HTTPStatus, detail: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    """The bytes of an error answer, in the shape of every error of the API."""
    kind = _KINDS.get(status, "invalid_request")
    body = json.dumps({"type": kind, "code": status.name.lower(), "detail": detail, "attr": None}).encode()
    fields = [
        *headers,
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"x-request-id", uuid4().hex.encode()),
        *([(b"retry-after", b"5")] if status == HTTPStatus.SERVICE_UNAVAILABLE else []),
    ]
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), *(b"%s: %s" % field for field in fields)]
    return b"\r\n".join([*lines, b"", body])
