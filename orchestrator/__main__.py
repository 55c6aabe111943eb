"""The program's entry point.

Child processes that run queries import the main module of their parent again, so this one imports nothing until `main`
is called.
"""

import sys


def main() -> None:
    """Run the command line. It says so if only the Python client was installed, without the libraries of the server."""
    try:
        from orchestrator.cli.app import run  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in {"orchestrator", "api"}:
            raise
        sys.exit(f"error: {error.name} is not installed: the command needs the server, pip install 'matview[server]'")
    run()


if __name__ == "__main__":
    main()
