"""Settings: environment variables with one prefix, read once at start and checked then."""

import base64
import json
import os
import re
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, unquote_plus, urlsplit

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from orchestrator.model.limits import Limits
from orchestrator.model.snapshot import Retention

PREFIX = "MATVIEW_"
_KEY_BYTES = 32
_OBJECT_STORES = ("s3", "gs", "az")
_LISTS = {
    "source_urls": 'of URLs, like ["https://", "s3://bucket/"]',
    "source_databases": 'of servers, like ["db.internal:5432"]',
    "source_roots": 'of folders, like ["/srv/data"]',
    "trusted_proxies": 'of addresses or networks, like ["10.0.0.7", "10.1.0.0/16"]',
    "spark_projects": "of numbers, like [1, 7]",
}
# The key lengths that the Standard Webhooks specification allows.
_WEBHOOK_KEY_BYTES = range(24, 65)
# Where a libpq URL may have a password: before its host, or among its parameters. Not parsed by urllib, which refuses
# some URLs that PostgreSQL accepts, such as one with a bracket.
_PASSWORDS = (re.compile(r"://[^:/@]*:([^@]*)@"), re.compile(r"[?&](?:ssl)?password=([^&]*)"))
# A server of a database, as MATVIEW_SOURCE_DATABASES names it.
_DATABASE_SERVER = (
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}"
    r"(\?(sslmode=(disable|require|verify-ca|verify-full)|sslrootcert=/[^&?\s]+)(&sslrootcert=/[^&?\s]+)?)?"
)
# Where the URL of a cluster has its token.
_SPARK_TOKEN = re.compile(r"[;/]token=([^;]+)")
# Variables that libpq, Temporal's SDK and object stores read, and whose values must not appear in a log.
_FOREIGN_SECRETS = (
    *("PGPASSWORD", "TEMPORAL_API_KEY"),
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_CLIENT_SECRET"),
)
# Variables and a parameter of the database's URL that name files with secrets in them.
_SECRET_FILES = ("PGPASSFILE", "PGSSLKEY", "TEMPORAL_TLS_CLIENT_KEY_PATH", "TEMPORAL_CONFIG_FILE")
_KEY_FILE = re.compile(r"[?&](?:sslkey|passfile)=([^&]*)")


class SettingsError(Exception):
    """A setting is wrong or missing; the message is one line that names it."""


class Settings(BaseSettings):
    """The settings of an installation. Each field is read from the variable `MATVIEW_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    database_url: str = Field(description="PostgreSQL, as a libpq URL: postgresql://user:password@host/database")
    data_dir: Path = Field(
        description="The folder of the snapshot store; every worker must see the same one, unless results are in an "
        "object store: then it is each machine's own, for what queries spill and for results until they are uploaded"
    )
    store: str | None = Field(
        default=None,
        description="The object store that results are kept in, such as s3://bucket/prefix, gs://bucket/prefix or "
        "az://container/prefix; without it they are kept in the data folder",
    )
    store_endpoint: str | None = Field(
        default=None, description="The address of the object store, if it is none of the cloud's own"
    )
    store_region: str | None = Field(default=None, description="The region of the bucket")
    store_access_key_id: str | None = Field(
        default=None,
        validate_default=True,
        description="The key to an S3 bucket; without it, the identity of the machine or of its environment is used",
    )
    store_secret_access_key: str | None = Field(
        default=None, validate_default=True, description="The secret that belongs to this key"
    )
    spark_remote: str | None = Field(
        default=None,
        description="The Spark cluster that views with the engine spark run on, as a URL of Spark Connect: "
        "sc://host:port/;token=…; without it such views are refused",
    )
    spark_projects: Annotated[list[int] | None, NoDecode] = Field(
        default=None,
        description="The ids of the projects whose views may run on the cluster, as a JSON list; without it those of "
        "all projects may",
    )
    spark_queries: int = Field(
        default=4, ge=1, description="How many queries of one project a worker has the cluster run at a time"
    )
    temporal_address: str | None = Field(
        default=None,
        description="host:port of the Temporal server; without it Temporal's own TEMPORAL_* variables decide",
    )
    temporal_namespace: str | None = Field(default=None, description="The Temporal namespace")
    temporal_ui_url: str | None = Field(default=None, description="The address of the Temporal UI; only shown")
    shared_data_url: str | None = Field(
        default=None,
        description="The URL of the data folder for clients that read files themselves, like file:///srv/matview; "
        "without it the Iceberg catalog lists tables and gives no files, unless results are in an object store",
    )
    source_roots: Annotated[list[Path], NoDecode] = Field(
        default=[], description="Folders below which source tables may lie, as a JSON list; none are allowed without it"
    )
    source_urls: Annotated[list[str], NoDecode] = Field(
        default=["https://", "s3://", "gs://"],
        description="The beginnings of URLs that source tables may read, as a JSON list, such as "
        "https://minio.internal:9000/ or s3://bucket/folder/; [] allows none. A server that is named here may have an "
        "address in a private network, and only such a server is read by http://",
    )
    source_endpoint: str | None = Field(
        default=None, description="The server that s3:// URLs of source tables lead to, if it is not Amazon's"
    )
    source_region: str | None = Field(
        default=None, description="The region of the buckets that such URLs name; us-east-1 without it"
    )
    source_databases: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="The servers of databases that source tables may read, each as host:port, as a JSON list; none are "
        "allowed without it. TLS is required of all but loopback addresses, with a certificate for the name: "
        "db.internal:5432?sslmode=require asks for less, and &sslrootcert=/path names the authority",
    )
    source_copy_mb: int = Field(
        default=65_536, ge=1, description="How large the copy of one table of a database may be, in MiB of Parquet"
    )
    secret_key: str | None = Field(
        default=None,
        description="The key that encrypts credentials of source tables: 32 bytes in URL-safe base64; without it the "
        "API refuses them",
    )
    api_host: str = Field(default="127.0.0.1", description="The address that the API listens on")
    api_port: int = Field(default=8000, ge=1, le=65535, description="The port that the API listens on")
    public_url: str | None = Field(
        default=None,
        description="The public address of the API, for links to further pages of a list and in the Temporal UI",
    )
    trusted_proxies: Annotated[list[IPv4Network | IPv6Network], NoDecode] = Field(
        default=[],
        description="Addresses or networks of the proxies before the API, as a JSON list: their X-Forwarded-For and "
        "X-Forwarded-Proto are believed; without it these headers are ignored",
    )
    api_connections: int = Field(
        default=1000, ge=16, description="How many connections the API keeps open at most, if it may open as many files"
    )
    api_connections_per_client: int = Field(
        default=256, ge=1, description="How many of them one address may have, unless it is a trusted proxy"
    )
    api_concurrent_requests: int = Field(
        default=8,
        ge=1,
        description="How many requests of one project the API works on at a time; others of it wait up to 30 seconds",
    )
    max_concurrent_queries: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        description="How many queries of one project a worker runs at a time; it runs one more, of another project",
    )
    query_threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="DuckDB threads for each query"
    )
    query_memory_mb: int = Field(
        default_factory=lambda: _share_of_memory_mb(),  # noqa: PLW0108 - it is defined below
        ge=64,
        description="DuckDB's memory limit for each query, in MiB; it spills to the disk beyond",
    )
    query_temp_disk_mb: int = Field(
        default=65_536, ge=0, description="How much each query may spill to the disk, in MiB"
    )
    query_output_mb: int = Field(default=65_536, ge=1, description="How large the result of a query may be, in MiB")
    read_memory_mb: int = Field(
        default_factory=lambda values: min(512, values["query_memory_mb"]),
        ge=64,
        description="DuckDB's memory limit for a query that a client reads through the API, in MiB",
    )
    read_timeout_seconds: float = Field(
        default=60, gt=0, description="How long such a query may run; time in which the client does not read is free"
    )
    read_temp_dir: Path | None = Field(
        default=None, description="Where such queries spill; without it the folder tmp below the data folder"
    )
    concurrent_reads: int = Field(
        default=16, ge=2, description="How many such queries and downloads an API process works on at a time"
    )
    concurrent_reads_per_project: int = Field(
        default=4, ge=1, description="How many of them one project may have; others of it wait up to 10 seconds"
    )
    worker_memory_mb: int = Field(
        default_factory=lambda: _usable_memory_mb(),  # noqa: PLW0108 - it is defined below
        ge=64,
        validate_default=True,
        description="The most that the memory limits of all queries that a worker runs at a time add up to, in MiB; "
        "further queries wait for their turn",
    )
    query_timeout_seconds: float = Field(default=3600, gt=0, description="How long one query may run")
    snapshots_kept: int = Field(default=10, ge=1, description="How many versions of a view are kept at most")
    snapshots_kept_days: float = Field(default=30, gt=0, description="How old a version may become that is not current")
    readers_grace_seconds: float = Field(
        default=3600,
        ge=0,
        description="How long the files of a version stay after it was replaced, for clients that still read them",
    )
    reconcile_seconds: float = Field(
        default=600, ge=10, description="How often the reconciler compares schedules, runs and files with the catalog"
    )
    webhook_url: str | None = Field(
        default=None, description="The URL that failures, recoveries and pauses are sent to; without it none are sent"
    )
    webhook_secret: str | None = Field(
        default=None,
        validate_default=True,
        description="The key that signs webhook events: whsec_ and 24 to 64 bytes in base64",
    )
    metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="The port that the process serves its Prometheus metrics on; none are kept without it",
    )
    metrics_host: str = Field(default="127.0.0.1", description="The address that the metrics are served on")
    metrics_views: int = Field(
        default=50, ge=0, description="For how many views the metrics give the age of the data, the most overdue first"
    )
    traces_file: Path | None = Field(
        default=None, description="A file that traces are appended to, as lines of JSON; for trying them out"
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Whether a line of the log is text for people or a JSON object"
    )
    log_level: str = Field(
        default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="The least severe level that is logged"
    )
    ready_file: Path | None = Field(
        default=None,
        description="A file that the worker creates once it polls, and removes when it stops, for supervisors",
    )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that must not appear in a log. A webhook's URL may hold a token."""
        found = [self.secret_key, self.webhook_secret, self.webhook_url, self.store_secret_access_key]
        found += [os.environ.get(name) for name in _FOREIGN_SECRETS]
        for token in _SPARK_TOKEN.findall(self.spark_remote or ""):
            found += [token, unquote(token)]
        for password in (each for pattern in _PASSWORDS for each in pattern.findall(self.database_url)):
            found += [password, unquote(password), unquote_plus(password)]
        return tuple(secret for secret in found if secret)

    @property
    def private_paths(self) -> tuple[Path, ...]:
        """Files and folders that source tables never read, also below `source_roots`: results and secrets."""
        named = [os.environ.get(name) for name in _SECRET_FILES]
        named += [unquote_plus(path) for path in _KEY_FILE.findall(self.database_url)]
        files = [Path(path).absolute() for path in named if path]
        return (self.data_dir, Path(".env").absolute(), *files, *([self.traces_file] if self.traces_file else []))

    @property
    def api_url(self) -> str:
        """The URL at which people reach the API."""
        return self.public_url or f"http://{self.api_host}:{self.api_port}"

    @property
    def store_options(self) -> dict[str, str]:
        """The options with which the object store is opened."""
        options = {
            "endpoint": self.store_endpoint,
            "region": self.store_region,
            "access_key_id": self.store_access_key_id,
            "secret_access_key": self.store_secret_access_key,
        }
        return {name: value for name, value in options.items() if value is not None}

    @property
    def limits(self) -> Limits:
        """The resources that one query may use, unless its project has limits of its own."""
        return Limits(
            memory_mb=self.query_memory_mb,
            threads=self.query_threads,
            temp_disk_mb=self.query_temp_disk_mb,
            output_mb=self.query_output_mb,
        )

    @property
    def query_slots(self) -> int:
        """How many queries a worker takes at a time: those that run, and some that wait for their turn.

        The server hands a task to a worker that is free for it in half the time that it takes to store it for later. So
        a worker has more slots than queries, as one prepares or finishes its result while another one runs.
        """
        return 8 * self.max_concurrent_queries

    @property
    def read_limits(self) -> Limits:
        """The resources that a query may use whose result a client reads through the API."""
        return self.limits.model_copy(update={"memory_mb": min(self.read_memory_mb, self.query_memory_mb)})

    @property
    def retention(self) -> Retention:
        """How many versions are kept, and for how long."""
        return Retention(
            count=self.snapshots_kept,
            age=timedelta(days=self.snapshots_kept_days),
            grace=timedelta(seconds=self.readers_grace_seconds),
        )

    @property
    def query_timeout(self) -> timedelta:
        """How long one query may run."""
        return timedelta(seconds=self.query_timeout_seconds)

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, url: str) -> str:
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("it must start with postgresql://")
        return url

    @field_validator("secret_key")
    @classmethod
    def _is_fernet_key(cls, key: str | None) -> str | None:
        if key is not None:
            try:
                valid = len(base64.urlsafe_b64decode(key)) == _KEY_BYTES
            except ValueError:
                valid = False
            if not valid:
                raise ValueError("it must be 32 bytes in URL-safe base64")
        return key

    @field_validator("store")
    @classmethod
    def _is_object_store(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(f"({'|'.join(_OBJECT_STORES)})://[^/?#]+(/[^?#]*)?", url):
            raise ValueError("it must be a URL like s3://bucket/prefix")
        return None if url is None else url.rstrip("/")

    @field_validator("source_urls")
    @classmethod
    def _are_urls(cls, urls: list[str]) -> list[str]:
        wrong = next((url for url in urls if not re.fullmatch("((https|s3|gs)://|http://[^/])[^?#@]*", url)), None)
        if wrong is not None:
            raise ValueError(f"{wrong} is not the beginning of a URL that may be read: https://, http://server/, s3://")
        return urls

    @field_validator("source_databases")
    @classmethod
    def _are_servers(cls, servers: list[str]) -> list[str]:
        wrong = next((one for one in servers if not re.fullmatch(_DATABASE_SERVER, one)), None)
        if wrong is not None:
            raise ValueError(f"{wrong} is not a server of a database: host:port, or host:port?sslmode=require")
        return servers

    @field_validator("spark_remote")
    @classmethod
    def _is_spark_connect(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"sc://[^/;?#\s]+(/(;[^\s]*)?)?", url):
            raise ValueError("it must be a URL like sc://host:15002 or sc://host:443/;token=…;use_ssl=true")
        return url

    @field_validator("store_secret_access_key")
    @classmethod
    def _belongs_to_a_key(cls, secret: str | None, info: ValidationInfo) -> str | None:
        if (secret is None) != (info.data.get("store_access_key_id") is None):
            raise ValueError(f"it and {PREFIX}STORE_ACCESS_KEY_ID are needed together")
        return secret

    @field_validator("webhook_url", "public_url", "store_endpoint", "source_endpoint")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        if url is not None and not (re.match("https?://", url) and urlsplit(url).hostname):
            raise ValueError("it must start with http:// or https:// and name a host")
        return url

    @field_validator("webhook_secret")
    @classmethod
    def _is_webhook_secret(cls, secret: str | None, info: ValidationInfo) -> str | None:
        if "webhook_url" in info.data and (secret is None) != (info.data["webhook_url"] is None):
            raise ValueError(f"it and {PREFIX}WEBHOOK_URL are needed together")
        if secret is not None:
            try:
                key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
            except ValueError:
                key = b""
            if not secret.startswith("whsec_") or len(key) not in _WEBHOOK_KEY_BYTES:
                raise ValueError("it must be whsec_ and then 24 to 64 bytes in base64")
        return secret

    @field_validator("worker_memory_mb")
    @classmethod
    def _holds_a_query(cls, worker_mb: int, info: ValidationInfo) -> int:
        query_mb = info.data.get("query_memory_mb", 0)
        if worker_mb < query_mb:
            raise ValueError(f"it must be at least {PREFIX}QUERY_MEMORY_MB, which is {query_mb}")
        return worker_mb

    @field_validator(
        "source_roots", "source_urls", "source_databases", "trusted_proxies", "spark_projects", mode="before"
    )
    @classmethod
    def _is_json_list(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - any value
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            raise ValueError(f"it must be a JSON list {_LISTS[str(info.field_name)]}") from None

    @field_validator("data_dir", "read_temp_dir", "source_roots")
    @classmethod
    def _absolute(cls, value: Any) -> Any:  # noqa: ANN401 - one path or several
        paths = value if isinstance(value, list) else [value]
        if not all(path is None or path.is_absolute() for path in paths):
            raise ValueError("it must be an absolute path")
        return value


def load_settings(**given: Any) -> Settings:  # noqa: ANN401 - values of any setting
    """The settings from the environment. Raises SettingsError, which names the first one that is wrong."""
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        problem = "is missing" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{name}: {problem}") from None


def _usable_memory_mb() -> int:
    """Six tenths of the machine's memory, at least 256, in MiB."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return max(256, int(total * 0.6))


def _share_of_memory_mb() -> int:
    """A query's share of that, if one project runs a query on each processor and another project runs one more."""
    return max(256, _usable_memory_mb() // ((os.cpu_count() or 1) + 1))
