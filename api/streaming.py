"""Answers that are sent while they are made, and the formats that a client may ask for."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Annotated, Any, NamedTuple

from fastapi import Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from orchestrator.model.errors import Invalid
from orchestrator.model.reading import ResultFormat

MEDIA_TYPES = {
    ResultFormat.JSON: "application/json",
    ResultFormat.ARROW: "application/vnd.apache.arrow.stream",
    ResultFormat.PARQUET: "application/vnd.apache.parquet",
    ResultFormat.CSV: "text/csv",
    ResultFormat.NDJSON: "application/x-ndjson",
}
FormatName = Annotated[
    ResultFormat | None,
    Query(alias="format", description="The format of the result; without it the Accept header chooses, else JSON"),
]
# For the OpenAPI document: an answer in any of the formats.
CONTENT: dict[str, Any] = {
    MEDIA_TYPES[one]: {"schema": {"type": "string", "format": "binary"}}
    for one in ResultFormat
    if one is not ResultFormat.JSON
}
# The status that proxies log for a request whose client did not wait. No client sees it.
_CLIENT_HAS_LEFT = 499
_ANY = ("*/*", "application/*", "")


class HeldResponse(StreamingResponse):
    """A stream that holds resources. They are given back when it has ended, or its client has gone."""

    held: AsyncExitStack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        async with self.held:
            await super().__call__(scope, receive, send)


async def holding(request: Request, build: Callable[[AsyncExitStack], Awaitable[HeldResponse]]) -> Response:
    """The response that `build` makes with the resources that it enters.

    If it raises, or its client goes away before, they are given back at once.
    """
    async with AsyncExitStack() as stack:
        building = asyncio.ensure_future(build(stack))
        leaving = asyncio.ensure_future(_has_left(request))
        try:
            await asyncio.wait([building, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not building.done():
                return Response(status_code=_CLIENT_HAS_LEFT)
            response: HeldResponse = building.result()
            response.held = stack.pop_all()
            return response
        finally:
            leaving.cancel()
            building.cancel()
            await asyncio.gather(building, leaving, return_exceptions=True)


async def _has_left(request: Request) -> None:
    """Wait until the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Accepted(NamedTuple):
    media_type: str
    weight: float


def requested_format(request: Request, named: ResultFormat | None) -> ResultFormat:
    """The format that the query parameter or the Accept header asks for, JSON if neither does. Raises Invalid."""
    if named is not None:
        return named
    accepted = sorted(_accepted(request.headers.get("accept", "")), key=lambda one: -one.weight)
    for one in accepted:
        if one.media_type in _ANY:
            return ResultFormat.JSON
        for result_format, media_type in MEDIA_TYPES.items():
            if one.media_type == media_type:
                return result_format
    if not accepted or any(one.media_type.endswith("*") for one in accepted):
        return ResultFormat.JSON
    raise Invalid(f"The formats of a result are {', '.join(MEDIA_TYPES.values())}.", attr="format")


def _accepted(header: str) -> list[_Accepted]:
    found = []
    for item in header.split(","):
        media_type, *parameters = (part.strip().lower() for part in item.split(";"))
        weights = [parameter.removeprefix("q=") for parameter in parameters if parameter.startswith("q=")]
        try:
            found.append(_Accepted(media_type, float(weights[0]) if weights else 1.0))
        except ValueError:
            found.append(_Accepted(media_type, 0.0))
    return [one for one in found if one.media_type and one.weight > 0]
