"""Pages of a list, as PostHog numbers them."""

from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from api.page_links import page_link
from orchestrator.model.errors import NotFound
from orchestrator.model.names import MAX_LENGTH

T = TypeVar("T")

_BEYOND_ALL = 2**63 - 1  # the largest offset that PostgreSQL takes


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    model_config = ConfigDict(json_schema_extra={"description": "One page of a list."})  # lost for a given T

    count: int = Field(description="How many there are on all pages")
    next: str | None = Field(description="The URL of the next page")
    previous: str | None = Field(description="The URL of the page before")
    results: list[T] = Field(description="The items of this page")


class PageQuery(BaseModel):
    """The requested page."""

    page: int
    page_size: int
    search: str | None
    name: str | None = None

    @property
    def offset(self) -> int:
        """The number of items on the pages before, at most the largest offset of PostgreSQL."""
        return min((self.page - 1) * self.page_size, _BEYOND_ALL)


def _page_query(
    page: Annotated[int, Query(ge=1, description="1 is the first")] = 1,
    page_size: Annotated[int, Query(ge=1, le=1000, description="Items on a page")] = 100,
    search: Annotated[str | None, Query(max_length=MAX_LENGTH, description="A part of the name, in any case")] = None,
    name: Annotated[str | None, Query(max_length=MAX_LENGTH, description="The whole name, in any case")] = None,
) -> PageQuery:
    return PageQuery(page=page, page_size=page_size, search=_storable(search) or None, name=_storable(name))


def _storable(text: str | None) -> str | None:
    """The text without NUL characters, which PostgreSQL refuses. No name holds one, so this loses no match."""
    return None if text is None else text.replace("\x00", "\ufffd")


def _journal_page(
    page: Annotated[int, Query(ge=1, description="1 is the first")] = 1,
    limit: Annotated[int, Query(ge=1, le=1000, description="Entries on a page")] = 10,
) -> PageQuery:
    return PageQuery(page=page, page_size=limit, search=None)


def _snapshot_page(
    page: Annotated[int, Query(ge=1, le=10**9, description="1 is the first")] = 1,
    page_size: Annotated[int, Query(ge=1, le=1000, description="Versions on a page")] = 100,
) -> PageQuery:
    return PageQuery(page=page, page_size=page_size, search=None)


def _generation_page(
    page: Annotated[int, Query(ge=1, le=10**9, description="1 is the first")] = 1,
    page_size: Annotated[int, Query(ge=1, le=1000, description="Generations on a page")] = 100,
) -> PageQuery:
    return PageQuery(page=page, page_size=page_size, search=None)


GenerationPage = Annotated[PageQuery, Depends(_generation_page)]
SnapshotPage = Annotated[PageQuery, Depends(_snapshot_page)]
ActivityPage = Annotated[PageQuery, Depends(_journal_page)]
PageParams = Annotated[PageQuery, Depends(_page_query)]


def make_page(request: Request, params: PageQuery, count: int, results: Sequence[T]) -> Page[T]:
    """The page as an answer. Raises NotFound for one after the last; the first always exists."""
    if params.page > 1 and params.offset >= count:
        raise NotFound("Invalid page.")
    last = params.offset + params.page_size >= count
    return Page(
        count=count,
        next=None if last else page_link(request, params.page + 1),
        previous=None if params.page == 1 else page_link(request, params.page - 1),
        results=list(results),
    )
