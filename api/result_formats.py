"""The format of a result, as the query parameters and the Accept header of a request choose it."""

from typing import Annotated, Any, Literal, NamedTuple

from fastapi import Query, Request

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
Numbers = Annotated[
    Literal["number", "string"],
    Query(description="In JSON, whether numbers of types with more than 53 bits are strings"),
]
# For the OpenAPI document: an answer in any of the formats.
CONTENT: dict[str, Any] = {
    MEDIA_TYPES[one]: {"schema": {"type": "string", "format": "binary"}}
    for one in ResultFormat
    if one is not ResultFormat.JSON
}
_ANY = ("*/*", "application/*", "")


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
