"""Logs, as a process writes them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.settings import Settings
from orchestrator.telemetry.logs import make_redactor

PASSWORD = "p%40ss-of-the-catalog"  # noqa: S105 - of a database that does not exist
URL = f"postgresql://matview:{PASSWORD}@db.internal/matview"
TOKEN = "mv_" + "x" * 43
WEBHOOK = "https://hooks.example/T0KEN/very-secret"
SET_UP = f"""
import logging, threading
from orchestrator.settings import Settings
from orchestrator.telemetry.log_context import bound_log_fields
from orchestrator.telemetry.logs import set_up_logging
settings = Settings(
    database_url={URL!r}, data_dir="/data", webhook_url={WEBHOOK!r}, webhook_secret="whsec_" + "A" * 44,
    secret_key="k" * 43 + "=",
)
set_up_logging("INFO", FORM, settings.secrets)
log = logging.getLogger("orchestrator.test")
"""


def logged(code: str, form: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MATVIEW_")}
    script = SET_UP.replace("FORM", repr(form)) + code
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


SECRETS = (PASSWORD, "p@ss-of-the-catalog", "very-secret", TOKEN, "A" * 44, "k" * 43, "abcdef")
LINES = [
    f"log.warning('cannot reach %s', {URL!r})",
    f"log.warning('with %r', {{'url': {URL!r}}})",
    "log.info('password=%s sslmode=require', 'p@ss-of-the-catalog')",
    "log.info('it is %s', settings.secret_key)",
    "log.info('it is %s', settings.webhook_secret)",
    f"log.info('posting to %s', {WEBHOOK!r})",
    f"log.info('key %s', {TOKEN!r})",
    "log.info('Authorization: Bearer abcdef')",
    f"with bound_log_fields({{'request': {URL!r}}}): log.info('asked')",
]
CAUSE = f"""
try:
    try:
        raise OSError({URL!r})
    except OSError as error:
        raise KeyError("x") from error
except KeyError:
    log.exception("failed")
"""
UNCAUGHT = f"threading.Thread(target=lambda: open({URL!r})).start()\nraise OSError({URL!r})"


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_ever_logged(form: str, tmp_path: Path) -> None:
    lines = logged("\n".join(LINES), form, tmp_path).stderr
    assert [line.count("***") > 0 for line in lines.splitlines()] == [True] * len(LINES)
    failures = logged(CAUSE + UNCAUGHT, form, tmp_path).stderr
    assert failures.count("://matview:***@db.internal") >= 3, "in a cause, in a thread and at the end"
    assert not [secret for secret in SECRETS if secret in lines + failures]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hid[den-word@db/d",
        "postgresql://u:hid%5Bden-word@db/d",
        "postgresql://u:x@db:5432/d?sslmode=require&password=hid%5Bden-word",
        "postgresql:///d?password=hid[den-word&host=/run",
        "postgresql://u:hid[den-word@[::1]:5432/d",
    ],
)
def test_the_password_of_the_catalog_is_known_wherever_its_url_has_it(url: str) -> None:
    secrets = Settings(database_url=url, data_dir=Path("/data")).secrets
    assert make_redactor(secrets)("it is hid[den-word, no less") == "it is ***, no less"


@pytest.mark.parametrize("name", ["PGPASSWORD", "TEMPORAL_API_KEY"])
def test_secrets_that_others_read_from_the_environment_are_hidden_too(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "hidden-word")
    secrets = Settings(database_url="postgresql:///d", data_dir=Path("/data")).secrets
    assert make_redactor(secrets)("it is hidden-word") == "it is ***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"password": "it is \\"hidden\\"", "n": 1}', '{"password": "***", "n": 1}'),
        ("{'sslpassword': 'hidden', 'n': 1}", "{'sslpassword': '***', 'n': 1}"),
        ("{'password': \"hid'den\"}", "{'password': '***'}"),
        ("PGPASSWORD=hidden psql", "PGPASSWORD=*** psql"),
        ("TEMPORAL_API_KEY=hidden", "TEMPORAL_API_KEY=***"),
        ("host=db password='hid den' user=u", "host=db password=*** user=u"),
        ("postgresql:///d?password=hidden&host=x", "postgresql:///d?password=***&host=x"),
        ('{"password": null}', '{"password": null}'),
    ],
)
def test_a_value_under_the_name_of_a_password_is_hidden_though_it_is_no_known_secret(text: str, shown: str) -> None:
    assert make_redactor([])(text) == shown


def test_json_is_one_object_a_line_also_for_what_nobody_catches(tmp_path: Path) -> None:
    code = "with bound_log_fields({'view': 'v', 'run': 'r'}): log.info('a \"quoted\"\\nline')\nimport warnings\n"
    code += "warnings.warn('old')\nthreading.Thread(target=lambda: 1 / 0).start()\nraise ValueError('late')"
    ended = logged(code, "json", tmp_path)
    first, *others = [json.loads(line) for line in ended.stderr.splitlines()]
    assert (first["message"], first["view"], first["run"]) == ('a "quoted"\nline', "v", "r")
    assert (first["level"], first["logger"], first["time"][-1]) == ("INFO", "orchestrator.test", "Z")
    exceptions = " ".join(one.get("exception", one["message"]) for one in others)
    assert all(word in exceptions for word in ("ZeroDivisionError", "ValueError: late", "old"))
    assert ended.returncode == 1


def test_text_is_as_it_was_with_the_ids_behind_it(tmp_path: Path) -> None:
    code = "log.info('plain')\nwith bound_log_fields({'view': 'v', 'run': 'r'}): log.info('about a run')"
    plain, ids = logged(code, "text", tmp_path).stderr.splitlines()
    assert plain.endswith(" INFO    orchestrator.test: plain")
    assert ids.endswith(" INFO    orchestrator.test: about a run [view=v run=r]")


def test_a_line_of_temporals_sdk_carries_the_ids_that_follow_from_its_workflow(tmp_path: Path) -> None:
    view, workflow_run = "12345678-1234-5678-1234-567812345678", "87654321-4321-8765-4321-876543218765"
    code = f"""
from uuid import UUID
from orchestrator.telemetry.log_context import remember_project
from orchestrator.model.run import run_id_of
remember_project(UUID({view!r}), 7)
known = {{"workflow_id": "materialize/{view}", "run_id": {workflow_run!r}, "workflow_type": "RefreshViews"}}
log.warning("failed", extra={{"temporal_workflow": known}})
log.warning("failed", extra={{"temporal_workflow": {{"workflow_id": "matview/reconcile", "run_id": "x"}}}})
print(run_id_of(UUID({workflow_run!r}), UUID({view!r})))
"""
    ended = logged(code, "json", tmp_path)
    ours, reconciler = [json.loads(line) for line in ended.stderr.splitlines()]
    assert (ours["project"], ours["view"], ours["run"]) == ("7", view, ended.stdout.strip())
    assert (ours["workflow"], ours["workflow_run"]) == (f"materialize/{view}", workflow_run)
    assert (reconciler["workflow"], "view" in reconciler) == ("matview/reconcile", False)


FORGED = "2026-01-01 00:00:00,000 CRITICAL orchestrator: the disk is gone"
BREAKS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
HOSTILE = (
    f"it broke{''.join(f'{end}{FORGED}' for end in BREAKS)}\x1b[2J\x1b]0;owned\x07\x9b31m\x7f\u202e\u2066\ud800\x00"
)
# Every place of a record that text from outside can reach.
DOORS = f"""
hostile = {HOSTILE!r}
log.error(hostile)
log.error("failed: %s", hostile)
logging.getLogger("temporalio.activity").warning("Completing activity as failed", extra={{
    "temporal_activity": {{"workflow_id": hostile, "activity_type": hostile}}}})
with bound_log_fields({{'request': hostile}}): log.error('about it')
log.error("with a stack", stack_info=True)
import warnings
warnings.warn(hostile)
class Named(Exception): pass
Named.__qualname__ = hostile
for error in (ValueError(hostile), Named("x"), ExceptionGroup(hostile, [OSError(hostile)])):
    try:
        try:
            raise error
        except Exception as cause:
            cause.add_note(hostile)
            raise KeyError(hostile) from cause
    except KeyError:
        log.exception("failed")
threading.Thread(target=lambda: int(hostile)).start()
"""


def test_no_text_from_outside_begins_a_line_of_the_log_or_steers_a_terminal(tmp_path: Path) -> None:
    written = logged(DOORS + "raise ValueError(hostile)", "text", tmp_path).stderr
    assert written.count("the disk is gone") > len(BREAKS) * 10, "it is there to be read"
    assert not UNSAFE.search(written)
    ours = re.compile(r"2\d{3}-\d\d-\d\d .*|    .*")
    lines = [line for line in written.split("\n") if line]
    assert [line for line in lines if not ours.fullmatch(line)] == []
    assert [line for line in lines if line.startswith(FORGED[:40])] == []


def test_json_lines_hold_every_character_and_show_none_that_a_terminal_obeys(tmp_path: Path) -> None:
    written = logged(DOORS + "raise ValueError(hostile)", "json", tmp_path).stderr
    assert not UNSAFE.search(written)
    objects = [json.loads(line) for line in written.split("\n") if line]
    assert objects[0]["message"] == HOSTILE, "its value is what it was"
    assert {one["level"] for one in objects[:-2]} <= {"ERROR", "WARNING"}
