"""A process that has imported the command line, and forks for each command that it is asked to run.

A command takes a second of processor time to import what it needs, and a tenth of that for what it does. A fork begins
after the imports. It has streams, a folder, an environment and an exit status of its own, and ends as the program does.
Only a variable that a module reads while it is imported is the server's.
"""

import gc
import json
import os
import signal
import socket
import sys
from typing import Any, NoReturn

# A command that hangs is ended after this many seconds, and its exit status is -SIGALRM.
PATIENCE = 60


def serve(asked: socket.socket) -> None:
    """Run the command of each message until the tests close their end: a byte, and five descriptors."""
    _import_everything()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # or the forks that wait for commands would stay as zombies
    while True:
        _, descriptors, _, _ = socket.recv_fds(asked, 1, 5)
        if not descriptors:
            return
        if os.fork() == 0:
            asked.close()
            _run_and_tell(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _import_everything() -> None:
    import api.server  # noqa: F401 - for the forks, as are the others
    import orchestrator.catalog.migrate
    import orchestrator.cli.app
    import orchestrator.container
    import orchestrator.doctor.run
    import orchestrator.services.access  # noqa: F401

    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page that it looks at


def _run_and_tell(request: int, stdin: int, stdout: int, stderr: int, ended: int) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    command = os.fork()
    if command == 0:
        _run(json.loads(os.pread(request, os.fstat(request).st_size, 0)), stdin, stdout, stderr)
    _, status = os.waitpid(command, 0)
    os.write(ended, str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _run(request: dict[str, Any], *streams: int) -> NoReturn:
    from orchestrator.cli.app import run

    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    os.closerange(3, max(streams) + 3)
    signal.alarm(PATIENCE)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["matview", *request["arguments"]]
    # The interpreter holds each stream twice. The program replaces one, and the descriptor would be closed with it.
    sys.stdin = sys.__stdin__ = open(0)  # type: ignore[misc]  # noqa: SIM115 - they stay open
    sys.stdout = sys.__stdout__ = open(1, "w")  # type: ignore[misc]  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w")  # type: ignore[misc]  # noqa: SIM115
    try:
        run()
    except BaseException:  # as the interpreter does; the fork must never return to the server
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
