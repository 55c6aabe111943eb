"""An example for each command, which its `--help` shows. A test holds that every command has one that is valid."""

import typer

_CREATE = (
    'matview view create countries "SELECT country, sum(revenue) AS revenue FROM orders_by_customer GROUP BY country"'
)
# The first example of a newcomer, the same in the README, in the guide and below the banner of `matview dev`: what is
# typed, and what it does.
FIRST = (
    ("matview init shop", "an example project: sources, views that read one another, data"),
    ("matview apply shop --yes", "create it, and refresh its views in the order of their graph"),
    ("matview view rows best_customers", ""),
)
# By the words of the command; the entry without words is the program's own. All are about the project of the first
# example, so that each can be typed after it.
EXAMPLES = {
    "": tuple(line for line, _ in FIRST),
    "dev": ("matview dev", "matview dev --port 8001 --source-root /data"),
    "api": ("matview api",),
    "worker": ("matview worker",),
    "migrate": ("matview migrate",),
    "reconcile": ("matview reconcile --dry-run",),
    "init": ("matview init shop",),
    "plan": ("matview plan shop", "matview plan shop --prune --exit-code"),
    "apply": ("matview apply shop --yes", "matview apply shop --plan --diff"),
    "export": ("matview export copy",),
    "import-dbt": ("matview import-dbt ../jaffle_shop shop",),
    "console": ("matview console",),
    "lineage": ("matview lineage", "matview lineage best_customers --upstream --columns"),
    "view describe": ('matview view describe orders_by_day revenue "in EUR, without tax"',),
    "table describe": ('matview table describe orders amount "in EUR"',),
    "status": ("matview status", "matview status --json --exit-code"),
    "doctor": ("matview doctor",),
    "refresh": ("matview refresh best_customers --upstream", "matview refresh --all"),
    "query": ('matview query "SELECT count(*) FROM orders WHERE day > {since}" --value since=2026-01-15',),
    "shell": ("matview shell",),
    "project": ("matview project create sales",),
    "project create": ("matview project create sales",),
    "project list": ("matview project list",),
    "project limits": ("matview project limits 1 --memory-mb 2048 --timeout-seconds 600",),
    "key": ("matview key create --email ada@example.com --scope warehouse_view:read --expires 30d",),
    "key create": ("matview key create --email ada@example.com --scope warehouse_view:read --expires 30d",),
    "key list": ("matview key list --all",),
    "key revoke": ("matview key revoke mv_3kf9x",),
    "table": ('matview table add all_orders "shop/data/orders/*.csv"',),
    "table add": ('matview table add all_orders "shop/data/orders/*.csv"',),
    "table list": ("matview table list",),
    "table show": ("matview table show orders",),
    "table update": ("matview table update orders --type id=INTEGER --on-bad-row quarantine",),
    "table refresh": ("matview table refresh orders",),
    "table delete": ("matview table delete all_orders",),
    "view": (_CREATE,),
    "view create": (_CREATE, "matview view create countries --file countries.sql"),
    "view plan": (
        'matview view plan orders_by_day "SELECT day FROM kept_orders"',
        "matview view plan orders_by_day --delete",
    ),
    "check": ("matview check add orders_by_day not_null --column day",),
    "check add": (
        "matview check add orders_by_day unique --column day --name days",
        """matview check add orders_by_customer accepted_values -c customer --set 'values=[1, 2, 3]' --warn""",
        "matview check add orders_by_day row_count_change --set max_drop_percent=50",
    ),
    "check list": ("matview check list orders_by_day",),
    "check show": ("matview check show orders_by_day days",),
    "check edit": ("matview check edit orders_by_day days --warn", "matview check edit orders_by_day 1 --disable"),
    "check run": ("matview check run orders_by_day days",),
    "check results": ("matview check results orders_by_day days",),
    "check rows": ("matview check rows orders_by_day days",),
    "check types": ("matview check types orders_by_day",),
    "test": ("matview test", "matview test orders_by_day --junit results.xml"),
    "check delete": ("matview check delete orders_by_day days",),
    "view publish": (
        'matview view publish orders_by_day 3f0c9d0e-4c7e-4b0c-9d51-0a3f6d2b7c11 --reason "known duplicate"',
    ),
    "view diff": ("matview view diff orders_by_day --key day", "matview view diff orders_by_day 2 1"),
    "view try": (
        'matview view try orders_by_day "SELECT day, count(*) AS orders FROM kept_orders GROUP BY day" --key day',
        "matview view try orders_by_day -f orders_by_day.sql --descendants",
    ),
    "view tries": ("matview view tries orders_by_day",),
    "view promote": ("matview view promote orders_by_day 3f0c9d0e-4c7e-4b0c-9d51-0a3f6d2b7c11",),
    "view forget": ("matview view forget orders_by_day 3f0c9d0e-4c7e-4b0c-9d51-0a3f6d2b7c11",),
    "view list": ("matview view list --search day",),
    "view show": ("matview view show orders_by_day",),
    "view edit": ("matview view edit countries", "matview view edit countries --file countries.sql"),
    "view rename": ("matview view rename countries revenue_by_country",),
    "view delete": ("matview view delete orders_by_day",),
    "view materialize": ("matview view materialize countries --every 1hour --wait",),
    "view run": ("matview view run orders_by_day --wait",),
    "view cancel": ("matview view cancel orders_by_day",),
    "view pause": ("matview view pause orders_by_day",),
    "view resume": ("matview view resume orders_by_day", "matview view resume --all"),
    "view revert": ("matview view revert orders_by_day",),
    "view history": ("matview view history orders_by_day --limit 20",),
    "view activity": ("matview view activity orders_by_day",),
    "view dependencies": ("matview view dependencies best_customers --level all",),
    "view rows": (
        "matview view rows orders_by_day --limit 5",
        "matview view rows orders_by_day -o orders_by_day.parquet",
    ),
    "view path": ("matview view path orders_by_day",),
    "view versions": ("matview view versions orders_by_day",),
    "view quarantine": ("matview view quarantine orders_by_day --table orders",),
    "view sources": ("matview view sources orders_by_day",),
    "view rollback": ("matview view rollback orders_by_day 018f3c5e-5b0a-7c11-9d2f-0242ac120002",),
    "view pin": ("matview view pin orders_by_day 018f3c5e-5b0a-7c11-9d2f-0242ac120002",),
    "view unpin": ("matview view unpin orders_by_day 018f3c5e-5b0a-7c11-9d2f-0242ac120002",),
    "generation": ("matview generation list --status Failed",),
    "generation list": ("matview generation list --view best_customers --limit 5",),
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
