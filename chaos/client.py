"""A client of the API that checks every answer: some errors are allowed while faults are injected, most are not."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from chaos.history import History, View

Json = dict[str, Any]
UNREACHABLE = 0
_UNAVAILABLE = 503
_ERROR_FIELDS = {"type", "code", "detail", "attr"}
VIEWS = "/warehouse_saved_queries/"


@dataclass(frozen=True)
class Answer:
    """An answer of the API. With `status` 0 none came, and it is unknown whether the request took effect."""

    status: int
    body: Json

    @property
    def good(self) -> bool:
        """Whether the request succeeded."""
        return 200 <= self.status < 300  # noqa: PLR2004 - as HTTP says

    @property
    def unknown(self) -> bool:
        """Whether it is unknown if the request took effect."""
        return self.status in {UNREACHABLE, _UNAVAILABLE}

    @property
    def word(self) -> str:
        """The outcome in one word."""
        if self.status == UNREACHABLE:
            return "unreachable"
        return "ok" if self.good else str(self.body.get("code", self.status))


class Api:
    """The API of one project. An answer that must not occur is recorded as a violation."""

    def __init__(self, history: History, url: str, project_id: str, key: str) -> None:
        self._history = history
        self._http = httpx.AsyncClient(
            base_url=f"{url}/api/projects/{project_id}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=40,
            trust_env=False,  # the API runs on this machine, which a proxy may not reach
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        json: object = None,
        *,
        refusals: Collection[str] = (),
        view: View | None = None,
        params: Mapping[str, str | int] | None = None,
    ) -> Answer:
        """Send a request. An error is a violation unless its code is in `refusals` or the server is unavailable.

        `path` is relative to the project.
        """
        try:
            response = await self._http.request(method, path, json=json, params=params)
            body = response.json() if response.content else {}
        except httpx.TransportError:
            return Answer(UNREACHABLE, {})
        except ValueError:
            self._history.record_violation(
                "answer", f"{method} {path}: {response.status_code}, which is not JSON", view
            )
            return Answer(UNREACHABLE, {})
        answer = Answer(response.status_code, body if isinstance(body, dict) else {"results": body})
        self._judge(f"{method} {path}", answer, refusals, view)
        return answer

    def _judge(self, what: str, answer: Answer, refusals: Collection[str], view: View | None) -> None:
        if answer.good:
            return
        if set(answer.body) - {"position"} != _ERROR_FIELDS:
            self._history.record_violation(
                "answer", f"{what}: {answer.status} {answer.body}, which is no error of ours", view
            )
        elif answer.status != _UNAVAILABLE and answer.body["code"] not in refusals:
            message = f"{what}: {answer.status} {answer.body['code']}: {answer.body['detail']}"
            self._history.record_violation("answer", message, view)
