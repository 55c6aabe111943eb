"""An example for each command, which its `--help` shows. A test holds that every command has one that is valid."""

import typer

# By the words of the command; the first entry is the program's own.
EXAMPLES = {
    "": ('matview view create daily "SELECT day, count(*) AS n FROM events GROUP BY day"', "matview status"),
    "dev": ("matview dev", "matview dev --port 8001 --source-root /data"),
    "api": ("matview api",),
    "worker": ("matview worker",),
    "migrate": ("matview migrate",),
    "reconcile": ("matview reconcile --dry-run",),
    "init": ("matview init shop",),
    "plan": ("matview plan shop", "matview plan --prune --exit-code"),
    "apply": ("matview apply shop --yes", "matview apply --plan --diff"),
    "export": ("matview export copy",),
    "import-dbt": ("matview import-dbt ../jaffle_shop shop",),
    "lineage": ("matview lineage", "matview lineage revenue --upstream --columns"),
    "view describe": ('matview view describe revenue total "in EUR, without tax"',),
    "table describe": ('matview table describe orders amount "in cents"',),
    "status": ("matview status", "matview status --json --exit-code"),
    "doctor": ("matview doctor",),
    "refresh": ("matview refresh daily --upstream", "matview refresh --all"),
    "query": ('matview query "SELECT count(*) FROM events WHERE day > {since}" --value since=2026-01-01',),
    "shell": ("matview shell",),
    "project": ("matview project create sales",),
    "project create": ("matview project create sales",),
    "project list": ("matview project list",),
    "project limits": ("matview project limits 1 --memory-mb 2048 --timeout-seconds 600",),
    "key": ("matview key create --email ada@example.com --scope warehouse_view:read --expires 30d",),
    "key create": ("matview key create --email ada@example.com --scope warehouse_view:read --expires 30d",),
    "key list": ("matview key list --all",),
    "key revoke": ("matview key revoke mv_3kf9x",),
    "table": ('matview table add events "data/*.parquet"',),
    "table add": ('matview table add events "data/*.parquet"',),
    "table list": ("matview table list",),
    "table show": ("matview table show events",),
    "table update": ("matview table update events --type id=VARCHAR --on-bad-row quarantine",),
    "table refresh": ("matview table refresh events",),
    "table delete": ("matview table delete events",),
    "view": ('matview view create daily "SELECT day, count(*) AS n FROM events GROUP BY day"',),
    "view create": (
        'matview view create daily "SELECT day, count(*) AS n FROM events GROUP BY day"',
        "matview view create daily --file daily.sql",
    ),
    "view plan": ('matview view plan daily "SELECT day FROM events"', "matview view plan daily --delete"),
    "view diff": ("matview view diff daily --key day", "matview view diff daily 3 1"),
    "view try": (
        'matview view try daily "SELECT day, count(*) AS n FROM events GROUP BY day" --key day',
        "matview view try daily -f daily.sql --descendants",
    ),
    "view tries": ("matview view tries daily",),
    "view promote": ("matview view promote daily 3f0c9d0e-4c7e-4b0c-9d51-0a3f6d2b7c11",),
    "view forget": ("matview view forget daily 3f0c9d0e-4c7e-4b0c-9d51-0a3f6d2b7c11",),
    "view list": ("matview view list --search day",),
    "view show": ("matview view show daily",),
    "view edit": ("matview view edit daily", "matview view edit daily --file daily.sql"),
    "view rename": ("matview view rename daily events_by_day",),
    "view delete": ("matview view delete daily",),
    "view materialize": ("matview view materialize daily --every 1hour --wait",),
    "view run": ("matview view run daily --wait",),
    "view cancel": ("matview view cancel daily",),
    "view pause": ("matview view pause daily",),
    "view resume": ("matview view resume daily", "matview view resume --all"),
    "view revert": ("matview view revert daily",),
    "view history": ("matview view history daily --limit 20",),
    "view activity": ("matview view activity daily",),
    "view dependencies": ("matview view dependencies daily --level all",),
    "view rows": ("matview view rows daily --limit 5", "matview view rows daily -o daily.parquet"),
    "view path": ("matview view path daily",),
    "view versions": ("matview view versions daily",),
    "view quarantine": ("matview view quarantine daily --table events",),
    "view sources": ("matview view sources daily",),
    "view rollback": ("matview view rollback daily 018f3c5e-5b0a-7c11-9d2f-0242ac120002",),
    "view pin": ("matview view pin daily 018f3c5e-5b0a-7c11-9d2f-0242ac120002",),
    "view unpin": ("matview view unpin daily 018f3c5e-5b0a-7c11-9d2f-0242ac120002",),
    "generation": ("matview generation list --status Failed",),
    "generation list": ("matview generation list --view daily --limit 5",),
    "generation show": ("matview generation show 018f3c5e-5b0a-7c11-9d2f-0242ac120002",),
    "generation cancel": ("matview generation cancel 018f3c5e-5b0a-7c11-9d2f-0242ac120002",),
}


def add_examples(app: typer.Typer) -> None:
    """Have the help of all commands and groups end with their examples. One with an epilog of its own keeps that."""
    app.info.epilog = _epilog("")
    _add_below(app, "")


def _add_below(app: typer.Typer, above: str) -> None:
    for command in app.registered_commands:
        function = getattr(command.callback, "__name__", "")
        command.epilog = command.epilog or _epilog(f"{above}{command.name or function}")
    for group in app.registered_groups:
        group.epilog = _epilog(f"{above}{group.name}")
        if group.typer_instance is not None:
            _add_below(group.typer_instance, f"{above}{group.name} ")


def _epilog(words: str) -> str | None:
    examples = EXAMPLES.get(words)
    if examples is None:
        return None
    # Without the mark, the lines would become one paragraph.
    return "\n".join(["\b", f"Example{'' if len(examples) == 1 else 's'}:", *(f"  {line}" for line in examples)])
