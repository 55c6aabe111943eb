"""`matview shell`: scripts, and the parts of its prompt."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from orchestrator.cli import prompt
from orchestrator.cli.api_client import Api
from orchestrator.cli.output import Failure
from orchestrator.model.placeholders import split_statements
from tests.cli.conftest import Matview
from tests.cli.support import CannedApi
from tests.cli.test_escapes import HOSTILE
from tests.cli.test_reading import QUERY, result

COLUMNS = [
    *(["orders", "id"], ["orders", "customer"], ["orders", "Order"], ["orders", "two words"]),
    *(["sales.by_day", "day"], ["sales.by_day", "total"], ["v", HOSTILE]),
]


def sent(api: CannedApi) -> list[str]:
    """The statements that were sent, in their order."""
    return [body["query"]["query"] for body in api.posted() if body]


@pytest.mark.parametrize(
    ("text", "statements", "rest"),
    [
        ("", [], ""),
        ("SELECT 1", [], "SELECT 1"),
        ("SELECT 1;", ["SELECT 1"], ""),
        (" SELECT 1 ; ; -- ;\n;SELECT 2; x", ["SELECT 1", "SELECT 2"], " x"),
        ("SELECT ';', \";\", $$;$$, $a$;$$;$a$, E'\\';', 'it''s;' /* ; /* ; */ ; */;", None, ""),
        ("SELECT ';", [], "SELECT ';"),
        ("SELECT 1; /* ;", ["SELECT 1"], " /* ;"),
    ],
)
def test_a_statement_ends_at_a_semicolon_of_its_own(text: str, statements: list[str] | None, rest: str) -> None:
    assert split_statements(text) == ([text[:-1]] if statements is None else statements, rest)


def test_a_script_runs_one_statement_after_another(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", QUERY, result([1], n="INTEGER"), result(["x"], s="VARCHAR"))
    script = "\ufeffSELECT\n  1 AS n; SELECT 'x;\n' AS s\n; -- the end\n"
    done = matview("shell", stdin=script)
    assert (done.exit_code, done.stdout) == (0, "n\n-\n1\n(1 row)\ns\n-\nx\n(1 row)\n")
    assert sent(api) == ["SELECT\n  1 AS n", "SELECT 'x;\n' AS s"]


def test_a_script_stops_at_the_first_error(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", QUERY, {"detail": "Binder Error: no"}, status=400)
    error = matview("shell", stdin="SELECT x; SELECT 1;").exception
    assert isinstance(error, Failure)
    assert (error.status, str(error)) == (1, "Binder Error: no")
    assert sent(api) == ["SELECT x"]


@pytest.mark.parametrize("script", ["SELECT 1", "\\d a b\n", "\\x\n", "SELECT '\n;"])
def test_what_is_no_statement_and_no_command_is_an_error(matview: Matview, api: CannedApi, script: str) -> None:
    error = matview("shell", stdin=script).exception
    assert isinstance(error, Failure)
    assert error.status == 1
    assert sent(api) == []


def test_the_commands_list_and_describe_tables(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", QUERY, result(["orders", "table"], name="VARCHAR", kind="VARCHAR"))
    api.will_say("POST", QUERY, result(["id", "BIGINT"], column="VARCHAR", type="VARCHAR"))
    done = matview("shell", stdin='\\d\n\\d "Orders";\n\\?\n\\q\nSELECT 1;')
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[2:7] == [
        ["orders", "table"],
        ["(1", "row)"],
        ["column", "type"],
        ["------", "------"],
        ["id", "BIGINT"],
    ]
    assert "Tab completes" in done.stdout
    assert [body["query"]["values"] for body in api.posted() if body] == [{}, {"name": "Orders"}]


def test_a_table_that_there_is_not_is_named(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", QUERY, result(column="VARCHAR", type="VARCHAR"))
    assert str(matview("shell", stdin="\\d nothing\n").exception) == "there is no view or table 'nothing'"


def test_json_is_one_answer_a_statement(matview: Matview, api: CannedApi) -> None:
    api.will_say("POST", QUERY, result([1], n="INTEGER"), result([2], n="INTEGER"))
    lines = matview("shell", "--json", stdin="SELECT 1; SELECT 2;").stdout.splitlines()
    assert [json.loads(line)["results"] for line in lines] == [[[1]], [[2]]]


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[PipeInput]:
    """The keyboard of a prompt whose history is in a folder of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with create_pipe_input() as pipe:
        yield pipe


@pytest.fixture
def client(api: CannedApi) -> Iterator[Api]:
    api.will_say("POST", QUERY, result(*COLUMNS, table_name="VARCHAR", column_name="VARCHAR"))
    with Api(api.url, "mv_key", 7) as connected:
        yield connected


def entered(client: Api, keys: PipeInput, typed: str) -> list[str]:
    """The texts that a user enters who presses these keys, and then Ctrl-D."""
    keys.send_text(typed + "\x04")
    return list(prompt.prompted(client, keys=keys, screen=DummyOutput()))


def test_enter_ends_a_statement_only_at_its_semicolon(client: Api, keys: PipeInput) -> None:
    typed = "SELECT ';\r' AS s\r;\r\r   \r\\d\rSELECT 1; SELECT 2; -- both\rSELECT 1; SELECT\r2;\r"
    assert entered(client, keys, typed) == [
        "SELECT ';\n' AS s\n;",
        "\\d",
        "SELECT 1; SELECT 2; -- both",
        "SELECT 1; SELECT\n2;",
    ]


def test_ctrl_c_abandons_what_was_typed(client: Api, keys: PipeInput) -> None:
    assert entered(client, keys, "SELECT 1\rFROM\x03SELECT 2;\r") == ["SELECT 2;"]


def test_the_history_is_kept_for_its_user_alone(client: Api, keys: PipeInput) -> None:
    path = prompt.history_path()
    path.parent.mkdir(parents=True)
    path.touch(mode=0o644)
    assert entered(client, keys, "SELECT 1;\r") == ["SELECT 1;"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    arrow_up = "\x1b[A"
    assert entered(client, keys, f"{arrow_up}\r") == ["SELECT 1;"]


def test_a_folder_that_cannot_be_written_costs_the_history_only(
    client: Api, keys: PipeInput, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").touch()
    assert entered(client, keys, "SELECT 1;\r") == ["SELECT 1;"]
    assert "the history is not kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "completions"),
    [
        ("SELECT * FROM ord", ["orders", '"Order"']),
        ("SELECT * FROM SAL", ["sales.by_day"]),
        ("SELECT * FROM sales.b", ["sales.by_day"]),
        ('SELECT * FROM "sal', ["sales.by_day"]),
        ("SELECT * FROM v, ", ["orders", "sales.by_day", "v"]),
        ("SELECT orders.", ["id", "customer", '"Order"', '"two words"']),
        ("SELECT o.cu| FROM orders o", ["customer"]),
        ("SELECT t| FROM orders", ['"two words"']),
        ("SELECT t| FROM sales.by_day", ["total"]),
        ("SELECT tot", ["total"]),
        ("\\d o", ["orders"]),
        ("SELECT 'it''s ord", []),
    ],
)
def test_tab_completes_names(client: Api, text: str, completions: list[str]) -> None:
    names = prompt.NameLoader(client)
    names.refresh()
    before, _, after = text.partition("|")
    document = Document(before + after, len(before))
    found = prompt.NameCompleter(names).get_completions(document, CompleteEvent())
    assert [completion.text for completion in found] == completions


def test_an_api_that_knows_no_names_leaves_the_prompt_as_it_is(api: CannedApi, keys: PipeInput) -> None:
    api.will_say("POST", QUERY, b"nothing", status=500)
    with Api(api.url, "mv_key", 7) as client:
        assert entered(client, keys, "SELECT\t 1;\r") == ["SELECT 1;"]
