"""A stand-in for the API that gives canned answers over real HTTP."""

import json
import threading
from collections import defaultdict, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Json = dict[str, Any]

VIEW_ID = "9b8f3722-e88b-4e4b-9378-dcff5c2b584b"
VIEWS = "warehouse_saved_queries/"
OF_VIEW = f"{VIEWS}{VIEW_ID}/"
HISTORY = f"{OF_VIEW}run_history/"


class CannedApi:
    """Answers the requests to a path with its canned answers in turn, and repeats the last one."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], deque[tuple[int, bytes]]] = defaultdict(deque)
        self._missing: dict[str, int] = {}
        self._held: set[str] = set()
        self._is_over = threading.Event()
        self.requests: list[tuple[str, str, Json | None]] = []
        self.headers: list[dict[str, str]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.answer(self)

            def do_POST(self) -> None:
                api.answer(self)

            def do_PATCH(self) -> None:
                api.answer(self)

            def do_DELETE(self) -> None:
                api.answer(self)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.env = {"MATVIEW_API_URL": self.url, "MATVIEW_API_KEY": "mv_key", "MATVIEW_PROJECT_ID": "7"}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def will_say(self, method: str, path: str, *bodies: object, status: int = 200) -> None:
        """Add canned answers for a path; a body that is bytes is sent as it is."""
        for body in bodies:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self._answers[method, f"/api/projects/7/{path}"].append((status, raw))

    def will_break_off(self, path: str) -> None:
        """Close the connection before the last byte of each answer for a path."""
        self._missing[f"/api/projects/7/{path}"] = 1

    def will_not_answer(self, path: str) -> None:
        """Take requests for a path, and leave them without an answer."""
        self._held.add(f"/api/projects/7/{path}")

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length", 0))
        sent = json.loads(request.rfile.read(length)) if length else None
        path = request.path.split("?")[0]
        self.requests.append((request.command, request.path, sent))
        self.headers.append(dict(request.headers))
        if path in self._held:
            self._is_over.wait()
            return
        answers = self._answers[request.command, path] or deque([(404, b'{"detail": "Not found."}')])
        status, body = answers.popleft() if len(answers) > 1 else answers[0]
        request.send_response(status)
        request.send_header("Content-Length", str(len(body) + self._missing.get(path, 0)))
        request.end_headers()
        request.wfile.write(body)

    def posted(self) -> list[Json | None]:
        return self.sent("POST")

    def sent(self, method: str) -> list[Json | None]:
        """The bodies of all requests of a method."""
        return [body for asked, _, body in self.requests if asked == method]


def page(*results: Json, more: bool = False) -> Json:
    return {"count": len(results), "next": "http://elsewhere/" if more else None, "previous": None, "results": results}


def view(**given: object) -> Json:
    return {
        "id": VIEW_ID,
        "name": "sales",
        "status": None,
        "sync_frequency": "24hour",
        "cron": None,
        "time_zone": None,
        "is_materialized": True,
        "last_run_at": None,
        "data_as_of": None,
        "freshness": "clock",
        "max_staleness": None,
        "latest_error": None,
        **given,
    }


def run(number: int, status: str, **given: object) -> Json:
    """A run whose id ends in that number."""
    over = status != "Running"
    return {
        "id": f"00000000-0000-0000-0000-{number:012}",
        "status": status,
        "trigger": "api",
        "started_at": "2026-01-01T10:00:00.123456Z",
        "duration_seconds": 1.25 if over else None,
        "rows": 1234 if status == "Completed" else None,
        "bytes": 5678 if status == "Completed" else None,
        "error": "Out of luck" if status == "Failed" else None,
        "progress": None,
        **given,
    }


def history(*runs: Json) -> Json:
    return {"run_history": list(runs)}
