"""The receiver of a webhook: a server that records its requests, and answers with the statuses that a test sets."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.tenants import Json

SECRET_KEY = b"thirty-two bytes that are secret"
SECRET = "whsec_" + base64.b64encode(SECRET_KEY).decode()


@dataclass(frozen=True)
class Delivery:
    """A request, as it came."""

    headers: Message
    body: bytes
    answered: int

    @property
    def json(self) -> Json:
        body: Json = json.loads(self.body)
        return body

    @property
    def is_signed(self) -> bool:
        """Whether the signature is what the Standard Webhooks specification says, worked out by hand."""
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        digest = hmac.new(SECRET_KEY, signed, hashlib.sha256).digest()
        return bool(self.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}")


class Receiver:
    """Listens on a port of its own, which stays the same when it is closed and opened again."""

    def __init__(self) -> None:
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self._answers: list[int] = []
        self._deliveries: list[Delivery] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/hook?token=hidden"

    @property
    def requests(self) -> Sequence[Delivery]:
        return self._deliveries

    def open(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler())
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """From now on connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, *statuses: int) -> None:
        """Answer the next requests with these, and those after them with 204."""
        self._answers = list(statuses)

    def about(self, view_id: str) -> Sequence[Delivery]:
        """The requests about a view, in order."""
        return [one for one in self._deliveries if one.json["data"]["view_id"] == view_id]

    def taken(self, view_id: str) -> list[str]:
        """The types of the events about a view that were answered with success."""
        return [one.json["type"] for one in self.about(view_id) if one.answered == 204]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver._answers.pop(0) if receiver._answers else 204
                receiver._deliveries.append(Delivery(self.headers, body, status))
                receiver.may_answer.wait()
                self.send_response(status)
                if status == 302:
                    self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler
