"""Delivers webhook events as the Standard Webhooks specification says."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

import httpx
from standardwebhooks.webhooks import Webhook
from temporalio import activity

from orchestrator.model.base import now
from orchestrator.model.errors import WebhookRefused, WebhookUnavailable
from orchestrator.model.webhook_event import WebhookEvent
from orchestrator.temporal import contract

_TIMEOUT_SECONDS = 10
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


@dataclass(frozen=True)
class WebhookActivities:
    """Sends webhook events to `url`, signed with `secret` (`whsec_` and a key in base64)."""

    http: httpx.AsyncClient
    url: str
    secret: str

    @activity.defn(name=contract.DELIVER_NOTICE)
    async def deliver_notice(self, notice: WebhookEvent) -> None:
        """Send the event once; any 2xx status is a delivery.

        Raises WebhookUnavailable if there is no answer within ten seconds or the answer asks for a retry. Raises
        WebhookRefused for any other answer, a redirect included. Neither names the URL, which may hold a token.
        """
        body = notice.model_dump_json()
        moment = now()
        headers = {
            "content-type": "application/json",
            "webhook-id": str(notice.id),
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(str(notice.id), moment, body),
        }
        try:
            # The client's own timeouts apply to each read or write alone, so a slow trickle would not exceed them.
            async with (
                asyncio.timeout(_TIMEOUT_SECONDS),
                self.http.stream("POST", self.url, content=body, headers=headers) as answer,
            ):
                status = answer.status_code
        except (httpx.TransportError, TimeoutError) as error:
            raise WebhookUnavailable(f"The webhook cannot be reached ({type(error).__name__}).") from None
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
            raise WebhookUnavailable(f"The webhook answered {status}.")
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise WebhookRefused(f"The webhook answered {status}.")
