"""A stack whose processes serve metrics, write traces and log JSON."""

import dataclasses
import re
from pathlib import Path

from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.roles import ROLES
from orchestrator.devstack.stack import DevStack

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "monitoring" / "grafana-dashboard.json"
ALERTS = ROOT / "monitoring" / "alerts.yml"
RUNBOOK = ROOT / "docs" / "runbook.md"


def metric_names(text: str) -> set[str]:
    """Every metric that a dashboard or a file of rules asks for, `up` apart, which is Prometheus's own."""
    return set(re.findall(r"\b(?:matview|temporal|process)_[a-z0-9_]+", text))


def monitored_stack(home: Path, *source_roots: Path, traces: Path) -> DevStack:
    """The whole stack, which traces into the file `traces` and logs JSON."""
    variables = {"MATVIEW_TRACES_FILE": str(traces), "MATVIEW_LOG_FORMAT": "json"}
    roles = [dataclasses.replace(role, env={**role.env, **variables}) for role in ROLES]
    return DevStack(home, bootstrap=bootstrap, say=print, extra_source_roots=source_roots, roles=roles)
