"""Lineages of columns that are followed through views down to source tables."""

import time

from orchestrator.model.column_lineage import ColumnRef, QueryLineage, Sources, down_to_tables, unknown


def lineage(rows: str = "", **columns: str) -> QueryLineage:
    """A lineage written as `column="t.a t.b; u.c"`: what it is computed from, and what else decides it."""

    def refs(text: str) -> frozenset[ColumnRef]:
        parts = (one.split(".") for one in text.split())
        return frozenset(ColumnRef(node, None if column == "*" else column) for node, column in parts)

    def sources(text: str) -> Sources:
        own, _, also = text.partition(";")
        return Sources(refs(own), refs(also))

    return QueryLineage(tuple((name, sources(text)) for name, text in columns.items()), Sources(also=refs(rows)))


def test_a_column_is_followed_through_every_view_to_the_tables() -> None:
    views = {
        "low": lineage("t.* t.f", a="t.a t.b", n="; t.o"),
        "mid": lineage("low.* low.n", x="low.a; low.n", only="t.c"),
        "top": lineage("mid.*", y="MID.X Mid.Only"),
    }
    found = down_to_tables(views, ["low", "mid", "top"])
    assert found["low"] == views["low"]
    assert found["mid"] == lineage("t.* t.f t.o", x="t.a t.b; t.o", only="t.c")
    assert found["top"] == lineage("t.* t.f t.o", y="t.a t.b t.c; t.o")


def test_a_column_that_a_value_is_computed_from_is_not_named_twice() -> None:
    views = {"low": lineage(a="t.a; t.b"), "top": lineage(x="low.a t.b; t.a")}
    assert down_to_tables(views, ["low", "top"])["top"] == lineage(x="t.a t.b")


def test_what_is_not_known_of_an_input_is_not_known_of_its_readers_and_only_of_those_columns() -> None:
    views = {
        "low": unknown(["a"], "It is strange."),
        "mid": lineage("t.*", x="low.a", y="t.b"),
        "top": lineage("mid.*", x="mid.x mid.y", y="mid.y", z="mid.gone"),
    }
    top = dict(down_to_tables(views, ["low", "mid", "top"])["top"].columns)
    assert top["x"].reason == 'In the view "low": It is strange.'
    assert top["x"].sources == {ColumnRef("t", "b")}
    assert top["y"] == Sources(frozenset({ColumnRef("t", "b")}))
    assert top["z"].reason == 'The query of "mid" was changed: its next result has no column "gone".'


def test_a_lineage_of_millions_of_references_is_given_up_and_not_wrong() -> None:
    wide = " ".join(f"t.c{n}" for n in range(4_000))
    views = {"v0": lineage(**{f"c{n}": wide for n in range(200)})}
    for level in range(1, 20):
        views[f"v{level}"] = lineage(**{f"c{n}": f"v{level - 1}.c{n} v{level - 1}.c0" for n in range(200)})
    began = time.process_time()
    found = down_to_tables(views, list(views))
    seconds = time.process_time() - began
    assert sum(one.size for one in found.values()) <= 1_000_000
    known = [len(one.sources) for view in found.values() for _, one in view.columns if one.reason is None]
    assert set(known) == {4_000}
    assert all("too many columns" in str(one.reason) for _, one in found["v19"].columns)
    assert seconds < 30


def test_a_column_of_more_columns_than_can_be_shown_says_so() -> None:
    views = {"v": lineage(a=" ".join(f"t.c{n}" for n in range(5_001)))}
    ((_, found),) = down_to_tables(views, ["v"])["v"].columns
    assert (found.all, found.reason) == (frozenset(), "It is computed from more columns than can be shown (5,000).")
