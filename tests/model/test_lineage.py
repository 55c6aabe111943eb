"""The order in which views are described: each comes after the views that it reads."""

from itertools import pairwise
from random import Random
from uuid import UUID

from orchestrator.model.lineage import inputs_first


def ids(count: int) -> list[UUID]:
    return [UUID(int=number) for number in range(count)]


def test_what_reads_stands_behind_all_that_it_reads() -> None:
    random = Random(1)  # noqa: S311 - no secret
    for _ in range(50):
        views = ids(30)
        names = random.sample(views, len(views))
        readers = {name: random.sample(names[n + 1 :], k=min(2, len(names) - n - 1)) for n, name in enumerate(names)}
        ordered = inputs_first([], readers)
        assert sorted(ordered) == sorted({reader for reading in readers.values() for reader in reading})
        for read, reading in readers.items():
            for reader in reading:
                assert read not in ordered or ordered.index(read) < ordered.index(reader)


def test_what_is_to_be_described_in_any_case_is_there_once_and_before_its_readers() -> None:
    first, second, third = ids(3)
    assert inputs_first([second], {first: [second], second: [third]}) == [second, third]
    assert inputs_first([first], {}) == [first]


def test_a_thousand_views_on_top_of_each_other_are_ordered() -> None:
    views = ids(1000)
    assert inputs_first([], {a: [b] for a, b in pairwise(views)}) == views[1:]
