"""The program's entry.

Child processes that run queries import the main module of their parent again, so this one stays empty until it is
called.
"""


def main() -> None:
    """Run the command line."""
    from orchestrator.cli.app import run  # noqa: PLC0415 - see above

    run()


if __name__ == "__main__":
    main()
