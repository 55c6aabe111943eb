"""Sessions on a Spark cluster, over Spark Connect. Each has one user, and ends with what it was opened for.

The client blocks, so each session has a thread. Another thread can interrupt it.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from urllib.parse import quote, unquote

import grpc  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.errors.exceptions.connect import SparkConnectGrpcException
from pyspark.sql.connect.client.retries import DefaultPolicy
from pyspark.sql.connect.session import SparkSession

from orchestrator.aio import uninterruptible
from orchestrator.model.errors import ClusterUnavailable, OrchestratorError, QueryFailed

T = TypeVar("T")
logger = logging.getLogger(__name__)

# Settings with which Spark counts, compares and stores as DuckDB does, where it has them.
_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "false",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}
# How long a session's thread may go on once it was interrupted. Then its connection is closed.
_INTERRUPT_SECONDS = 3.0
_CLOSE_SECONDS = 5.0
_RETRIES = 4
_LONGEST_REASON = 2_000
_AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAUTHENTICATED}
_NOT_THERE = re.compile(r"StatusCode\.(UNAVAILABLE|UNAUTHENTICATED|DEADLINE_EXCEEDED)|RETRIES_EXCEEDED")
_DETAILS = re.compile(r'details = "([^"]+)"')
_JVM_TRACE = re.compile(r"\n+JVM stacktrace:.*", re.DOTALL)
logging.getLogger("pyspark").setLevel(logging.CRITICAL)


class Sessions:
    """Opens sessions on the cluster at `remote`, a URL like `sc://host:port/;token=…`. `most` may be open at a time."""

    def __init__(self, remote: str, *, most: int) -> None:
        self._remote = remote
        self._secrets = tuple(secrets_of(remote))
        self._threads = ThreadPoolExecutor(max_workers=most, thread_name_prefix="spark")
        # Beside those of the sessions: an interrupt must not wait for a session to end.
        self._interrupts = ThreadPoolExecutor(max_workers=most, thread_name_prefix="spark-interrupt")

    async def run(self, work: Callable[[SparkSession], T], *, seconds: float | None = None) -> T:
        """Do `work`, which blocks, in a session of its own.

        Cancelling, or the end of `seconds`, interrupts all that the session does on the cluster, and waits until the
        thread has ended. Raises QueryFailed with the cluster's message, ClusterUnavailable, or TimeoutError.
        """
        opened: list[SparkSession] = []
        given_up = threading.Event()
        thread = asyncio.wrap_future(self._threads.submit(self._work, work, opened, given_up))
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(thread)
        except (asyncio.CancelledError, TimeoutError):
            given_up.set()
            await uninterruptible(self._interrupt(thread, opened))
            raise

    def close(self) -> None:
        """Begin no further session."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._interrupts.shutdown(wait=False, cancel_futures=True)

    def without_secrets(self, message: str) -> str:
        """The message without the address of the cluster and its token."""
        for secret in self._secrets:
            message = message.replace(secret, "***")
        return message

    def _work(self, work: Callable[[SparkSession], T], opened: list[SparkSession], given_up: threading.Event) -> T:
        try:
            session = SparkSession(self._remote, userId="matview")  # sends nothing yet
            opened.append(session)
            try:
                if given_up.is_set():
                    raise ClusterUnavailable
                session.client.set_retry_policies([DefaultPolicy(max_retries=_RETRIES, max_backoff=1000)])
                for name, value in _SETTINGS.items():
                    session.conf.set(name, value)
                return work(session)
            finally:
                session.stop()
        except OrchestratorError:
            raise
        except Exception as error:
            raise self._translated(error) from None

    async def _interrupt(self, thread: "asyncio.Future[T]", opened: Sequence[SparkSession]) -> None:
        """Interrupt a session until its thread has ended. A cluster that does not answer gets its connection closed."""
        loop = asyncio.get_running_loop()
        for session in opened:
            done = loop.run_in_executor(self._interrupts, _interrupt_all, session)
            await asyncio.wait([done], timeout=_INTERRUPT_SECONDS)
        if await _has_ended(thread, _INTERRUPT_SECONDS):
            return
        for session in opened:
            closing = loop.run_in_executor(self._interrupts, session.client.close)
            await asyncio.wait([closing], timeout=_CLOSE_SECONDS)
        if not await _has_ended(thread, _CLOSE_SECONDS):
            logger.warning("a session on the cluster does not end: its connection is closed")

    def _translated(self, error: Exception) -> OrchestratorError:
        text = self.without_secrets(_JVM_TRACE.sub("", str(error)).strip())[:_LONGEST_REASON]
        away = isinstance(error, SparkConnectGrpcException) and error.getGrpcStatusCode() in _AWAY
        if away or isinstance(error, grpc.RpcError | OSError) or _NOT_THERE.search(text):
            details = _DETAILS.search(text)
            reason = details[1] if details else text.partition("\n")[0]
            return ClusterUnavailable(f"The Spark cluster does not answer: {reason[:300]}")
        if isinstance(error, PySparkException):
            return QueryFailed(f"Spark: {text}")
        return QueryFailed(f"Spark: {type(error).__name__}: {text}")


def _interrupt_all(session: SparkSession) -> None:
    try:
        session.interruptAll()
    except Exception as error:
        logger.info("a session on the cluster could not be interrupted: %s", type(error).__name__)


async def _has_ended(thread: "asyncio.Future[T]", seconds: float) -> bool:
    done, _ = await asyncio.wait([thread], timeout=seconds)
    if done and not thread.cancelled():
        thread.exception()  # it is looked at, so that asyncio does not report it as lost
    return bool(done)


def secrets_of(remote: str) -> list[str]:
    """The parts of a cluster's URL that must not be shown: the whole URL, and the token in it."""
    found = re.findall(r"[;/]token=([^;]+)", remote)
    return [remote, *(form for token in found for form in (token, unquote(token), quote(token, safe="")))]
