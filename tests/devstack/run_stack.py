"""Runs a stack with stand-ins for the program in a process of its own, for tests that send it signals."""

import asyncio
import signal
import sys
from pathlib import Path

from orchestrator.devstack.home import StackError
from orchestrator.devstack.stack import DevStack
from orchestrator.devstack.temporal import Temporal
from tests.devstack.support import ROLES, bootstrap


def say(message: str) -> None:
    sys.stdout.write(message + "\n")
    sys.stdout.flush()


Temporal.stop_signal = signal.SIGKILL  # a clean stop takes a second
stack = DevStack(Path(sys.argv[1]), bootstrap=bootstrap, say=say, roles=ROLES, migrate=None)
try:
    asyncio.run(stack.run_until_stopped(lambda _info: say("ready")))
except StackError as error:
    say(str(error))
    sys.exit(1)
say("stopped")
