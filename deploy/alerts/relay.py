"""Passes the events of Matview's webhook on to chat and e-mail, through Apprise.

    pip install apprise standardwebhooks
    export MATVIEW_WEBHOOK_SECRET=whsec_…     # that of the workers
    export ALERT_URLS="slack://…  mailto://…" # https://appriseit.com has the URL of each service
    python relay.py

An event whose signature is wrong is refused. One that a service does not take is answered with an error, so that
Matview delivers it again, for up to a day. A service that has taken it does not get it twice.
"""

import argparse
import json
import os
import sys
import threading
from collections import OrderedDict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import apprise
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

_LARGEST_BYTES = 1 << 20
_REMEMBERED = 10_000
_GOOD = ("run.recovered", "check.recovered")


class Relay:
    """The services, and the events that they have taken."""

    def __init__(self, secret: str, urls: list[str]) -> None:
        """Raises ValueError for a URL that Apprise does not know."""
        self._webhook = Webhook(secret)
        self._services: list[tuple[str, apprise.Apprise]] = []
        for url in urls:
            service = apprise.Apprise()
            if not service.add(url):
                raise ValueError(f"this is no URL of a service: {url.partition(':')[0]}:…")
            self._services.append((url, service))
        self._taken: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, body: bytes, headers: dict[str, str]) -> HTTPStatus:
        """Pass an event on to each service that has not taken it; returns the status of the answer."""
        try:
            event: dict[str, Any] = self._webhook.verify(body, headers)
        except WebhookVerificationError:
            return HTTPStatus.UNAUTHORIZED
        title, text = words_of(event)
        kind = apprise.NotifyType.SUCCESS if event["type"] in _GOOD else apprise.NotifyType.FAILURE
        with self._lock:  # two deliveries of one event may come at the same time
            left = [one for one in self._services if (headers["webhook-id"], one[0]) not in self._taken]
            for url, service in left:
                if service.notify(title=title, body=text, notify_type=kind):
                    self._taken[headers["webhook-id"], url] = None
            while len(self._taken) > _REMEMBERED:
                self._taken.popitem(last=False)
            is_done = all((headers["webhook-id"], url) in self._taken for url, _ in left)
        return HTTPStatus.NO_CONTENT if is_done else HTTPStatus.BAD_GATEWAY


def words_of(event: dict[str, Any]) -> tuple[str, str]:
    """The title and the text of a message."""
    data = event["data"]
    check = data.get("check")
    lines = [data["error"]] if data.get("error") else []
    if check is not None:
        rows = "it could not be run" if check["failing_rows"] is None else f"{check['failing_rows']:,} failing rows"
        lines.append(f"{check['label']} ({check['severity']}): {check['status']}, {rows}")
    if data.get("consecutive_failures"):
        lines.append(f"{data['consecutive_failures']} scheduled runs failed in a row")
    lines.append(f"project {data['project_id']}, run {data['run_id']}, workflow {data['workflow_id']}")
    return f"{data['view_name']}: {event['type']}", "\n".join(lines)


def handler_of(relay: Relay) -> type[BaseHTTPRequestHandler]:
    """The handler of requests."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            """Take an event."""
            length = self.headers.get("content-length", "")
            if not length.isdecimal() or int(length) > _LARGEST_BYTES:
                self.close_connection = True  # its body is not read
                self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                self._answer(relay.take(self.rfile.read(int(length)), headers))
            except (KeyError, TypeError, json.JSONDecodeError):
                self._answer(HTTPStatus.BAD_REQUEST)

        def _answer(self, status: HTTPStatus) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

    return Handler


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100)
    asked = parser.parse_args()
    try:
        relay = Relay(os.environ.get("MATVIEW_WEBHOOK_SECRET", ""), os.environ.get("ALERT_URLS", "").split())
        server = ThreadingHTTPServer((asked.host, asked.port), handler_of(relay))
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"listening on http://{asked.host}:{server.server_port}/\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
