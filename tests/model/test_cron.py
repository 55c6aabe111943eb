"""Cron expressions, their time zones and the words for frequencies: those that are read, and how others are refused."""

from datetime import timedelta

import pytest

from orchestrator.model.cron import CronSchedule, parse_cron
from orchestrator.model.errors import Invalid
from orchestrator.model.frequency_words import parse_frequency
from orchestrator.model.saved_query import SyncFrequency, Timing
from orchestrator.model.time_zones import check_time_zone


@pytest.mark.parametrize(
    ("expression", "field", "numbers"),
    [
        ("*/15 * * * *", "minutes", {0, 15, 30, 45}),
        ("5-20/5,59 * * * *", "minutes", {5, 10, 15, 20, 59}),
        ("0 8-10 * * *", "hours", {8, 9, 10}),
        ("0 0 */10 * *", "days", {1, 11, 21, 31}),
        ("0 0 1 JAN,jul-Sep *", "months", {1, 7, 8, 9}),
        ("0 0 * * 7", "weekdays", {0}),
        ("0 0 * * 5-7", "weekdays", {0, 5, 6}),
        ("0 0 * * sun,MON-wed", "weekdays", {0, 1, 2, 3}),
        ("@weekly", "weekdays", {0}),
        ("@Hourly", "hours", set(range(24))),
        ("@monthly", "days", {1}),
        ("@daily", "hours", {0}),
    ],
)
def test_a_field_stands_for_these_numbers(expression: str, field: str, numbers: set[int]) -> None:
    (calendar,) = parse_cron(expression)
    assert getattr(calendar, field) == numbers


def test_a_day_has_to_match_one_of_two_restricted_fields_and_both_if_one_begins_with_a_star() -> None:
    either = parse_cron("0 0 13 * FRI")
    assert [(len(one.days), len(one.weekdays)) for one in either] == [(1, 7), (31, 1)]
    (both,) = parse_cron("0 0 */2 * FRI")
    assert (len(both.days), len(both.weekdays)) == (16, 1)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "it has no fields instead of 5"),
        ("0 6 * *", "it has 4 fields instead of 5"),
        ("0 0 6 * * *", "There are neither seconds nor years"),
        ("CRON_TZ=Europe/Berlin 0 6 * * *", "a field of its own, time_zone"),
        ("TZ=UTC 0 6 * * *", "a field of its own, time_zone"),
        ("@every 5m", "set sync_frequency"),
        ("@yearly", "@hourly, @daily, @weekly, @monthly"),
        ("0 6 * * * # daily", "neither comments"),
        ("0 6 ? * *", "write *"),
        ("0 0 L * *", "day of the month 'L': expected is a number from 1 to 31"),
        ("0 0 * * MONDAY", "or one of SUN, MON"),
        ("0 0 * FEBR *", "or one of JAN, FEB"),
        ("75 * * * *", "75 is not between 0 and 59"),
        ("0 24 * * *", "24 is not between 0 and 23"),
        ("0 0 0 * *", "0 is not between 1 and 31"),
        ("0 0 * * 8", "8 is not between 0 and 7"),
        ("0 -1 * * *", "hour '-1'"),
        ("0 ٣ * * *", "expected is a number"),
        ("1,,2 * * * *", "minute ''"),
        ("*/0 * * * *", "a whole number from 1 on"),
        ("*/90 * * * *", "only 0 would be left"),
        ("5/15 * * * *", "5-59/15"),
        ("0 22-2 * * *", "22-23,0-2"),
        ("0 0 30 2 *", "it never fires"),
        ("0 0 31 APR,JUN,SEP,NOV *", "it never fires"),
        ("0 0 30 FEB */2", "it never fires"),
    ],
)
def test_anything_else_is_refused_by_name_and_with_an_example(expression: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_cron(expression)
    assert words in refused.value.message
    assert "An example: 0 6 * * 1-5" in refused.value.message
    assert refused.value.attr == "cron"


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "CET", "Etc/GMT+5"])
def test_a_time_zone_is_one_of_the_iana_database(zone: str) -> None:
    assert check_time_zone(zone) == zone


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("europe/berlin", "Did you mean Europe/Berlin?"),
        ("Berlin", "Did you mean Europe/Berlin?"),
        ("New York", "Did you mean America/New_York?"),
        ("Europe/Berln", "Did you mean Europe/Berlin or"),
        ("+02:00", "Names are such as Europe/Berlin"),
        ("", "Names are such as"),
        ("Local", "Names are such as"),
        ("localtime", "There is no time zone 'localtime'"),
        ("../../etc/passwd", "There is no time zone"),
    ],
)
def test_another_time_zone_is_refused_with_similar_names(zone: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_time_zone(zone)
    assert words in refused.value.message
    assert refused.value.attr == "time_zone"


@pytest.mark.parametrize(
    ("expression", "frequency", "longest"),
    [
        ("* * * * *", "15min", timedelta(minutes=1)),
        ("*/20 * * * *", "15min", timedelta(minutes=20)),
        ("*/30 9-17 * * 1-5", "1hour", timedelta(days=2, hours=15, minutes=30)),
        ("@hourly", "1hour", timedelta(hours=1)),
        ("0 9,17 * * *", "12hour", timedelta(hours=16)),
        ("0 6 * * *", "24hour", timedelta(days=1)),
        ("0 6 * * 1-5", "24hour", timedelta(days=3)),
        ("0 6 * * MON", "7day", timedelta(days=7)),
        ("0 6 1 * *", "30day", timedelta(days=31)),
        ("0 0 29 2 *", "30day", timedelta(days=4 * 365 + 1)),
    ],
)
def test_a_cron_schedule_has_a_frequency_of_posthogs_and_a_longest_gap(
    expression: str, frequency: str, longest: timedelta
) -> None:
    timing = Timing.of_cron(CronSchedule(expression=expression))
    assert (timing.frequency, timing.longest_gap) == (frequency, longest)


@pytest.mark.parametrize(
    ("word", "frequency"),
    [
        *(("15m", "15min"), ("15 min", "15min"), ("15minutes", "15min"), ("30mins", "30min")),
        *(("hourly", "1hour"), ("1h", "1hour"), ("60min", "1hour"), ("6h", "6hour"), ("12hours", "12hour")),
        *(("daily", "24hour"), ("1day", "24hour"), ("1d", "24hour"), ("24h", "24hour"), (" Daily ", "24hour")),
        *(("weekly", "7day"), ("1week", "7day"), ("1w", "7day"), ("7d", "7day")),
        *(("monthly", "30day"), ("30d", "30day"), ("1month", "30day"), ("NEVER", "never")),
    ],
)
def test_a_frequency_may_be_written_in_other_words(word: str, frequency: str) -> None:
    assert parse_frequency(word) == frequency


@pytest.mark.parametrize("frequency", list(SyncFrequency))
def test_each_frequency_is_its_own_word(frequency: SyncFrequency) -> None:
    assert parse_frequency(frequency) is frequency


@pytest.mark.parametrize(
    ("word", "near"),
    [("2hour", "1hour"), ("20min", "15min"), ("2d", "24hour"), ("dayly", "daily"), ("nevr", "never"), ("xyz", None)],
)
def test_a_word_for_no_frequency_is_refused_with_the_nearest_one(word: str, near: str | None) -> None:
    with pytest.raises(ValueError, match=r"is none of the frequencies '1min', '5min', '15min', .* 'never'") as refused:
        parse_frequency(word)
    assert str(refused.value).partition("Did you mean ")[2] == (f"{near}?" if near else "")


def test_a_long_word_is_not_repeated_in_full() -> None:
    with pytest.raises(ValueError, match="is none of the frequencies") as refused:
        parse_frequency("y" * 10_000)
    assert len(str(refused.value)) < 300
