import pytest

from orchestrator.iceberg.table_names import listed, views_named


def test_a_view_without_a_namespace_goes_before_one_in_the_namespace_default() -> None:
    assert listed(["default.x", "X", "Default.y", "default.a.b"]) == [
        (("default",), "X"),
        (("default",), "y"),
        (("default", "a"), "b"),
    ]
    assert views_named(("Default",), "x") == ["x", "Default.x"]
    assert views_named(("default", "a"), "b") == ["default.a.b"]


def test_each_namespace_has_one_spelling() -> None:
    assert listed(["ns.Deep.b", "Ns.a", "NS.deep.c"]) == [
        (("NS",), "a"),
        (("NS", "deep"), "b"),
        (("NS", "deep"), "c"),
    ]


@pytest.mark.parametrize(
    "parts", [("ns.deep", "x"), ("ns", "deep.x"), ("", "x"), ("ns", ""), ("ns", "\0"), ("ns", "\ud800")]
)
def test_parts_that_no_name_has_name_no_view(parts: tuple[str, str]) -> None:
    assert views_named(parts[:1], parts[1]) == []
