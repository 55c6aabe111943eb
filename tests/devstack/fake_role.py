"""A stand-in for a role of the program: it records its starts and stops in the data folder, and nothing else."""

import os
import signal
import sys
import time
from pathlib import Path

name, behaviour = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
events = Path(os.environ["MATVIEW_DATA_DIR"]) / "events"


def note(what: str) -> None:
    with events.open("a") as file:
        file.write(f"{name} {what}\n")


def leave(_number: int, _frame: object) -> None:
    time.sleep(0.1)
    note("stopped")
    sys.exit(0)


signal.signal(signal.SIGTERM, leave)
note("started")
if behaviour == "fails":
    sys.stderr.write("".join(f"line {number}\n" for number in range(1, 31)))
    sys.exit(3)
Path(os.environ["MATVIEW_READY_FILE"]).touch()
if behaviour == "crashes":
    time.sleep(0.1)
    sys.stderr.write("it hurts\n")
    os._exit(4)
while True:
    signal.pause()
