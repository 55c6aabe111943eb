"""Creates a virtual environment for each peer from pinned requirements, and again when those change."""

import asyncio
import hashlib
import shutil
import sys
from pathlib import Path

from uv import find_uv_bin

from benchmarks.peers.subprocesses import PeerError

ROOT = Path(__file__).parents[2] / ".bench" / "peers"
_REQUIREMENTS = Path(__file__).parent


def requirements(name: str) -> Path:
    """The file with the pinned requirements of a peer."""
    return _REQUIREMENTS / f"{name}.txt"


def pinned(name: str, package: str) -> str:
    """The pinned version of a package of a peer. Raises KeyError."""
    lines = requirements(name).read_text().splitlines()
    return dict(line.split(";")[0].strip().split("==") for line in lines if "==" in line)[package]


async def prepare(name: str) -> Path:
    """Create the environment of a peer unless it exists; returns the folder of its programs.

    Raises:
        PeerError: It cannot be installed.
    """
    folder = ROOT / name
    content = requirements(name).read_bytes() + sys.version.encode()
    digest, stamp = hashlib.sha256(content).hexdigest(), folder / "installed"
    if not (stamp.exists() and stamp.read_text() == digest):
        await asyncio.to_thread(_begin_anew, folder)
        await _uv("venv", "--quiet", "--python", sys.executable, str(folder))
        # The files list all dependencies, so none is resolved. Without bytecode, the first start would take longer.
        options = ["--quiet", "--no-deps", "--compile-bytecode", "--python", str(folder / "bin" / "python")]
        await _uv("pip", "install", *options, "--requirement", str(requirements(name)))
        stamp.write_text(digest)
    return folder / "bin"


def _begin_anew(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    ROOT.mkdir(parents=True, exist_ok=True)
    (ROOT / ".gitignore").write_text("*\n")


async def _uv(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        find_uv_bin(), *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise PeerError(f"it cannot be installed: {' '.join(errors.decode(errors='replace').split())[-500:]}")
