"""How the URL of a source table is read."""

import pytest

from orchestrator.model.errors import InvalidSource
from orchestrator.remote_sources.locations import AllowedUrls, Location, S3Defaults, parse_location

ALL = AllowedUrls(["https://", "s3://", "gs://", "http://minio.internal:9000/"])


def parsed(url: str, allowed: AllowedUrls = ALL, defaults: S3Defaults | None = None) -> Location:
    return parse_location(url, allowed, defaults or S3Defaults())


@pytest.mark.parametrize(
    ("url", "origin", "bucket", "region", "key"),
    [
        (
            "https://data.s3.eu-central-1.amazonaws.com/a/*.parquet",
            *("https://s3.eu-central-1.amazonaws.com", "data", "eu-central-1", "a/*.parquet"),
        ),
        (
            "https://s3.eu-west-3.amazonaws.com/data/a/b.csv",
            *("https://s3.eu-west-3.amazonaws.com", "data", "eu-west-3", "a/b.csv"),
        ),
        (
            "https://my.data.s3.amazonaws.com/b.csv",
            *("https://s3.amazonaws.com", "my.data", "us-east-1", "b.csv"),
        ),
        (
            "https://data.s3.dualstack.us-west-2.amazonaws.com/x/b.csv",
            *("https://s3.dualstack.us-west-2.amazonaws.com", "data", "us-west-2", "x/b.csv"),
        ),
        (
            "https://storage.googleapis.com/data/a%20b/*.csv.gz",
            *("https://storage.googleapis.com", "data", "us-east-1", "a b/*.csv.gz"),
        ),
        (
            "https://0123456789abcdef.r2.cloudflarestorage.com/data/a.json",
            *("https://0123456789abcdef.r2.cloudflarestorage.com", "data", "us-east-1", "a.json"),
        ),
        (
            "http://minio.internal:9000/data/day=*/x.parquet",
            *("http://minio.internal:9000", "data", "us-east-1", "day=*/x.parquet"),
        ),
        ("s3://data/a/*.parquet", *("https://s3.us-east-1.amazonaws.com", "data", "us-east-1", "a/*.parquet")),
        ("gs://data/a/*.parquet", *("https://storage.googleapis.com", "data", "us-east-1", "a/*.parquet")),
        ("https://example.org/a/b.csv", *("https://example.org", None, "", "a/b.csv")),
        ("https://example.org:443/a%20b.csv", *("https://example.org:443", None, "", "a b.csv")),
    ],
)
def test_a_url_names_a_server_a_bucket_and_keys(
    url: str, origin: str, bucket: str | None, region: str, key: str
) -> None:
    found = parsed(url)
    assert (found.origin, found.bucket, found.region, found.key) == (origin, bucket, region, key)


def test_s3_urls_lead_to_the_server_that_the_operator_says() -> None:
    found = parsed("s3://data/a.csv", defaults=S3Defaults("https://minio.internal:9000", "eu-1"))
    assert (found.origin, found.region) == ("https://minio.internal:9000", "eu-1")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://example.org/a.csv", "is not read"),
        ("az://container/a.csv", "is not read"),
        ("http://example.org/a.csv", "HTTPS only"),
        ("https://user:word@example.org/a.csv", "signed URL is a secret"),
        ("https://data.s3.amazonaws.com/a.csv?X-Amz-Signature=1", "signed URL is a secret"),
        ("https://example.org/a.csv#b", "signed URL is a secret"),
        ("https://example.org/*.csv", "not known as an object store"),
        ("https://*.s3.amazonaws.com/a.csv", "characters|names no server|not known|not read"),
        ("https:///a.csv", "names no server"),
        ("https://example.org:abc/a.csv", "names no server"),
        ("https://example.org/", "names no file"),
        ("s3://data", "names no file|a bucket and files"),
        ("s3://data/", "names no file"),
        ("s3://da*a/x.csv", "a bucket and files"),
        ("s3://data/a/../b.csv", "neither '.' nor '..'"),
        ("https://example.org/a/%2e%2e/b.csv", "neither '.' nor '..'"),
        ("s3://data//a.csv", "empty segment"),
        ("s3://data/**/a.csv", "not supported"),
        ("s3://data/a\x00.csv", "characters"),
        ("https://example.org\\@minio.internal/a.csv", "characters"),
        (f"s3://data/{'a' * 500}", "no more than 500"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_with_the_reason(url: str, words: str) -> None:
    with pytest.raises(InvalidSource, match=words) as raised:
        parsed(url)
    assert raised.value.attr == "url_pattern"


@pytest.mark.parametrize(
    ("allowed", "url", "may"),
    [
        ([], "https://example.org/a.csv", False),
        (["s3://data/raw"], "s3://data/raw/a.csv", True),
        (["s3://data/raw"], "s3://data/rawer/a.csv", False),
        (["s3://data/"], "s3://data/a.csv", True),
        (["s3://data"], "s3://database/a.csv", False),
        (["s3://"], "https://data.s3.amazonaws.com/a.csv", False),
        (["https://example.org"], "https://example.org/a.csv", True),
        (["https://example.org"], "https://example.org.evil.net/a.csv", False),
        (["https://example.org/open/"], "https://example.org/closed/a.csv", False),
        (["https://Example.org/"], "HTTPS://EXAMPLE.ORG/a.csv", True),
    ],
)
def test_only_urls_that_begin_as_the_operator_says_are_read(allowed: list[str], url: str, may: bool) -> None:
    if may:
        parsed(url, AllowedUrls(allowed))
    else:
        with pytest.raises(InvalidSource, match="MATVIEW_SOURCE_URLS"):
            parsed(url, AllowedUrls(allowed))


def test_a_pattern_matches_within_one_folder_and_no_hidden_file() -> None:
    found = parsed("s3://data/a/*/x?.csv")
    matching = [
        key for key in ("a/b/x1.csv", "a/b/x.csv", "a/b/c/x1.csv", "a/.b/x1.csv", "b/b/x1.csv") if found.matches(key)
    ]
    assert matching == ["a/b/x1.csv"]
    assert found.prefix == "a"
    assert parsed("s3://data/a/b.csv").prefix == "a"
    assert parsed("s3://data/*.csv").prefix == ""
