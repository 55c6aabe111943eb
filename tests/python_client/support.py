"""A connection of the Python client to the stack, a relay in front of it, and an environment with nothing else."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit

from packaging.requirements import Requirement

import matview
from orchestrator.devstack.stack import DevStack
from tests.reading.support import reads_of
from tests.support.tenants import Tenant, until

ROOT = Path(__file__).parents[2]
P = ParamSpec("P")
T = TypeVar("T")


async def aside(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of a call that blocks, which runs in a thread so that the stack goes on."""
    return await asyncio.to_thread(function, *args, **kwargs)


def connected(stack: DevStack, tenant: Tenant, url: str | None = None) -> matview.Connection:
    """A connection to the project of a test."""
    return matview.connect(url or stack.info["api_url"], tenant.token, project=tenant.project_id)


def variables(stack: DevStack, tenant: Tenant) -> dict[str, str]:
    """The environment of a script that connects without arguments."""
    return {
        "MATVIEW_API_URL": stack.info["api_url"],
        "MATVIEW_API_KEY": tenant.token,
        "MATVIEW_PROJECT_ID": str(tenant.project_id),
    }


async def no_read_is_left(tenant: Tenant) -> None:
    """Wait until the catalog has no read of the project. Raises AssertionError if one stays."""

    async def is_over() -> bool:
        return await reads_of(tenant) == 0

    await until(is_over, "the end of the reads", patience=10)


@dataclass
class Relay:
    """A relay in front of the API: it records requests, refuses some, and may break answers off."""

    port: int = 0
    requests: list[str] = field(default_factory=list)
    refusals: int = 0
    retry_after: str = "0"
    cut_after: int | None = None
    hides_breaks: bool = False
    forwarded: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: str) -> None:
        """One connection, which carries one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = head.split("\r\n")
            method, path, _ = lines[0].split(" ")
            self.requests.append(f"{method} {path}")
            headers = [line for line in lines[1:-2] if not line.lower().startswith(("connection:", "expect:"))]
            sizes = [int(line.split(":")[1]) for line in headers if line.lower().startswith("content-length:")]
            body = await reader.readexactly(sum(sizes))
            if self.refusals:
                self.refusals -= 1
                again = f"Retry-After: {self.retry_after}\r\n"
                writer.write(f"HTTP/1.1 503 No\r\n{again}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
                return
            wanted = "\r\n".join([f"{method} {path} HTTP/1.1", *headers, "Connection: close", "", ""])
            await self._forward(writer, wanted.encode("latin-1") + body, upstream)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            await _closed(writer)

    async def _forward(self, writer: asyncio.StreamWriter, request: bytes, upstream: str) -> None:
        where = urlsplit(upstream)
        answer, server = await asyncio.open_connection(where.hostname, where.port)
        try:
            server.write(request)
            if self.hides_breaks:
                whole = without_chunks(await answer.read())
                self.forwarded = len(whole)
                writer.write(whole[: self.cut_after])
                return
            left, self.forwarded = self.cut_after, 0
            while chunk := await answer.read(1 << 16):
                writer.write(chunk[:left])
                self.forwarded += len(chunk)
                await writer.drain()
                if left is not None and (left := left - len(chunk)) <= 0:
                    return
        finally:
            await _closed(server)


def without_chunks(answer: bytes) -> bytes:
    """A chunked answer as HTTP/1.0 has it: it ends when the connection does, so a break looks like its end."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        chunk, rest = rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        body += chunk
    fields = [line for line in head.split(b"\r\n")[1:] if not line.lower().startswith(b"transfer-encoding:")]
    return b"\r\n".join([b"HTTP/1.0 200 OK", *fields, b"", body])


@asynccontextmanager
async def a_relay(stack: DevStack, host: str = "127.0.0.1") -> AsyncIterator[Relay]:
    """A relay to the stack's API."""
    relay, tasks = Relay(), set[asyncio.Task[None]]()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(relay.serve(reader, writer, stack.info["api_url"])))

    server = await asyncio.start_server(accept, host, 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        async with server:
            yield relay
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def bare_environment(folder: Path, extra: str = "") -> Path:
    """A virtual environment with the wheel and the packages that it requires, made without a network.

    Returns its folder of programs. The packages are those of this environment, as the wheel's metadata names them for
    the `extra`.
    """
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    bare = folder / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(bare / "bin" / "python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    (packages,) = bare.glob("lib/python*/site-packages")
    (installed,) = metadata.distributions(name="matview", path=[str(packages)])
    for name in closure({"matview": installed.requires or []}, ("matview", extra)) - {"matview"}:
        install(name, packages)
    return bare / "bin"


def closure(known: Mapping[str, list[str]], start: tuple[str, str]) -> set[str]:
    """The distributions that one needs here, given with an extra or an empty text, and those that they need in turn.

    `known` has the requirements of distributions that are not looked up.
    """
    found = {start}
    waiting = [start]
    while waiting:
        name, extra = waiting.pop()
        for line in known.get(name) or metadata.requires(name) or []:
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                new = {(wanted.name, one) for one in ("", *wanted.extras)} - found
                found |= new
                waiting += new
    return {name for name, _ in found}


def install(name: str, packages: Path) -> None:
    """Put a distribution of this environment into another one.

    Its files are really there, as pip would have them: a query's process may read the packages of its own Python only.
    """
    distribution = metadata.distribution(name)
    for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
        source = Path(str(distribution.locate_file(top)))
        if (packages / top).exists():
            continue
        if source.is_dir():
            shutil.copytree(source, packages / top, copy_function=_linked)
        else:
            _linked(source, packages / top)
    for file in distribution.files or []:
        source = Path(str(distribution.locate_file(file))).resolve()
        # Programs, but no scripts, which would run in this environment.
        if file.parent.name == "bin" and file.parts[0] == ".." and source.read_bytes()[:2] != b"#!":
            (packages.parents[2] / "bin" / file.name).symlink_to(source)


def _linked(source: str | Path, target: str | Path) -> None:
    """The same file a second time, or a copy of it on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


async def ran(python: Path | str, script: str, environment: dict[str, str], folder: Path) -> str:
    """The output of a script. Raises AssertionError if it fails."""
    ended = await aside(
        subprocess.run,
        [str(python), "-c", script],
        cwd=folder,
        env={"PATH": os.defpath, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
