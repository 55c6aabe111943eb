"""Files that no source table may read, in any folder that the operator allows."""

import shutil
from pathlib import Path

import pytest

from orchestrator.engines.duckdb.sources.discovery import find_source_files
from orchestrator.model.errors import InputMissing, InvalidSource
from orchestrator.model.private_folders import MARKER
from orchestrator.model.snapshot import Column
from orchestrator.model.write_target import WriteTarget
from tests.engines.conftest import make_engine, make_plan, source
from tests.engines.duckdb.test_sandbox import confined, needs_landlock
from tests.engines.sources.test_discovery import CSV


def refusal(pattern: Path | str, root: Path, *private: Path) -> str:
    with pytest.raises(InvalidSource) as raised:
        find_source_files(str(pattern), [root], private)
    return raised.value.message


def test_a_private_file_or_folder_is_refused_however_it_is_reached(tmp_path: Path) -> None:
    (tmp_path / "data" / "snapshots").mkdir(parents=True)
    for path in ("data/snapshots/x.csv", "key.pem", "open.csv"):
        (tmp_path / path).touch()
    (tmp_path / "link").symlink_to("data")
    (tmp_path / "link.csv").symlink_to("key.pem")
    private = (tmp_path / "data", tmp_path / "key.pem")
    for pattern in ("data/snapshots/x.csv", "data/*/*.csv", "link/snapshots/*", "key.pem", "link.csv", "*.pem", "*"):
        assert "private to this installation" in refusal(tmp_path / pattern, tmp_path, *private)
    # Also if a folder that is allowed lies in a private one, or is one.
    assert "private" in refusal(tmp_path / "data/snapshots/x.csv", tmp_path / "data" / "snapshots", *private)
    assert [file.shown for file in find_source_files(f"{tmp_path}/open.csv", [tmp_path], private)]


def test_below_a_marked_folder_nothing_is_read_so_that_copies_of_a_store_are_private_too(tmp_path: Path) -> None:
    (tmp_path / "backup" / "snapshots").mkdir(parents=True)
    (tmp_path / "backup" / "snapshots" / "x.csv").touch()
    assert find_source_files(f"{tmp_path}/backup/*/x.csv", [tmp_path])
    (tmp_path / "backup" / MARKER).touch()
    shutil.copytree(tmp_path / "backup", tmp_path / "another")
    for name in ("backup", "another"):
        assert "private to this installation" in refusal(tmp_path / name / "snapshots/x.csv", tmp_path)


def test_hidden_files_and_folders_are_refused_unless_they_were_allowed_by_name(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for path in (".git/config", ".env"):
        (tmp_path / path).touch()
    (tmp_path / "env.csv").symlink_to(".env")
    for pattern in (".git/config", ".env", ".*", "env.csv", ".git/*"):
        assert "hidden" in refusal(tmp_path / pattern, tmp_path)
    assert find_source_files(f"{tmp_path}/.git/config", [tmp_path / ".git"])


def test_windows_into_the_machine_are_refused_even_below_the_root_of_all_files() -> None:
    for path in ("/etc/passwd", "/proc/self/environ", "/sys/kernel/notes", "/etc/pass*", "/dev/null"):
        assert "private" in refusal(path, Path("/"))


def test_a_pattern_of_many_stars_is_matched_at_once(tmp_path: Path) -> None:
    (tmp_path / ("a" * 200)).touch()
    assert find_source_files(f"{tmp_path}/{'*a' * 100}*b", [tmp_path]) == []
    assert len(find_source_files(f"{tmp_path}/{'*a' * 100}*", [tmp_path])) == 1


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", "a ab abc b"), ("a*", "a ab abc"), ("*b", "ab b"), ("?", "a b"), ("a?", "ab"), ("*b*", "ab abc b"),
        ("a*c", "abc"), ("??*", "ab abc"), ("a**", None), ("x*", ""), ("ab", "ab"), ("*c?", ""),
    ],
)  # fmt: skip
def test_stars_and_question_marks_match_as_in_a_shell(tmp_path: Path, pattern: str, names: str | None) -> None:
    for name in ("a", "ab", "abc", "b"):
        (tmp_path / name).touch()
    if names is None:
        assert "'**' is not supported" in refusal(tmp_path / pattern, tmp_path)
    else:
        found = [Path(file.shown).name for file in find_source_files(f"{tmp_path}/{pattern}", [tmp_path])]
        assert found == names.split()


@needs_landlock
def test_a_file_that_is_exchanged_for_a_link_after_it_was_looked_at_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "in.parquet").write_text("what was looked at")
    (tmp_path / "secret").write_text("the secret")
    (seen,) = find_source_files(f"{tmp_path}/in.parquet", [tmp_path])
    read = f"print(json.dumps(outcome(lambda: open({str(tmp_path / 'in.parquet')!r}).read())))"
    assert confined(read, tmp_path, readable=[seen]) == "done: what was looked at"
    (tmp_path / "in.parquet").unlink()
    (tmp_path / "in.parquet").symlink_to("secret")
    assert "PermissionError" in confined(read, tmp_path, readable=[seen])


async def test_a_private_file_is_refused_when_a_table_is_added_and_when_a_run_reads_it(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "x.csv").write_text("1\n")
    (tmp_path / "out").mkdir()
    pattern = f"{tmp_path}/store/x.csv"
    engine = make_engine(tmp_path / "scratch", roots=[tmp_path], private=[tmp_path / "store"])
    try:
        with pytest.raises(InvalidSource, match="private to this installation"):
            await engine.analyzer.describe_source(pattern, CSV)
        relation = source("t", CSV, pattern, [Column(name="column0", duckdb_type="BIGINT")])
        with pytest.raises(InputMissing, match="private to this installation"):
            await engine.write(
                make_plan("SELECT * FROM t", [relation]),
                lambda a, b: f"{a}/{b}",
                WriteTarget.local(tmp_path / "out"),
                print,
            )
    finally:
        await engine.close()
