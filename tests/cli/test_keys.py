"""The forms in which an operator may write when a key expires."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.cli.keys import moment_of
from orchestrator.cli.output import Failure
from orchestrator.model.base import now

SLACK = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("30d", timedelta(days=30)),
        ("1day", timedelta(days=1)),
        ("12h", timedelta(hours=12)),
        ("8w", timedelta(weeks=8)),
        ("90min", timedelta(minutes=90)),
        (" 2weeks ", timedelta(weeks=2)),
    ],
)
def test_a_length_begins_now(text: str, length: timedelta) -> None:
    assert abs(moment_of(text) - now() - length) < SLACK


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2099-12-31", datetime(2099, 12, 31, tzinfo=UTC)),
        ("2099-12-31T12:00:00Z", datetime(2099, 12, 31, 12, tzinfo=UTC)),
        ("2099-12-31T12:00:00+02:00", datetime(2099, 12, 31, 10, tzinfo=UTC)),
        ("2099-12-31 12:30", datetime(2099, 12, 31, 12, 30, tzinfo=UTC)),
    ],
)
def test_a_date_is_its_first_moment_in_utc(text: str, moment: datetime) -> None:
    assert moment_of(text) == moment


@pytest.mark.parametrize(
    "text",
    ["", "0d", "-1d", "30", "30 days", "1m", "999999w", "9999999d", "2001-01-01", "9999-12-31", "tomorrow", "٣d",
     "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "99999-01-01", "30d\n31d"],
)  # fmt: skip
def test_what_is_no_moment_in_the_future_is_misuse_that_names_the_option(text: str) -> None:
    with pytest.raises(Failure, match=r"^--expires: ") as refused:
        moment_of(text)
    assert refused.value.status == 2
