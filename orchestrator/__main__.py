"""The program's entry point.

Child processes that run queries import the main module of their parent again, so this one imports nothing until `main`
is called.
"""


def main() -> None:
    """Run the command line."""
    from orchestrator.cli.app import run  # noqa: PLC0415 - see above

    run()


if __name__ == "__main__":
    main()
