"""The command line as processes, with the address and key of a tenant."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from orchestrator.devstack.stack import DevStack
from tests.support.tenants import Tenant

MATVIEW = [sys.executable, "-m", "orchestrator"]


class Commands:
    """The command line of a tenant, in a folder of its own."""

    def __init__(self, stack: DevStack, tenant: Tenant, folder: Path) -> None:
        self.folder = folder
        self.env = os.environ | {
            "MATVIEW_API_URL": stack.info["api_url"],
            "MATVIEW_API_KEY": tenant.token,
            "MATVIEW_PROJECT_ID": str(tenant.project_id),
            "XDG_STATE_HOME": str(folder / "state"),
        }

    async def __call__(self, *arguments: str, stdin: str = "", status: int = 0) -> subprocess.CompletedProcess[bytes]:
        ended = await asyncio.to_thread(
            subprocess.run,
            [*MATVIEW, *arguments],
            cwd=self.folder,
            env=self.env,
            input=stdin.encode(),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert ended.returncode == status, ended.stdout + ended.stderr
        assert b"Traceback" not in ended.stderr
        return ended

    def started(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """A command that goes on, to be interrupted."""
        return subprocess.Popen([*MATVIEW, *arguments], cwd=self.folder, env=self.env, **options)


def out(ended: subprocess.CompletedProcess[bytes]) -> str:
    """The standard output of a command that has ended."""
    return ended.stdout.decode()
