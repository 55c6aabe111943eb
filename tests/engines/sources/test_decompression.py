"""A compressed file is read to its end, in pieces of any size, and one that is not whole is refused."""

import random
import time
from collections.abc import Iterator

import pytest

from orchestrator.engines.duckdb.integrity.decompression import Broken, unpacked
from tests.engines.duckdb.packing import BROKEN, TEXT, WHOLE, compression_of, frame, member


def in_pieces(packed: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    at = 0
    while at < len(packed):
        size = next(sizes)
        yield packed[at : at + size]
        at += size


def sizes(kind: str) -> Iterator[int]:
    chance = random.Random(kind)  # noqa: S311 - not a secret
    while True:
        yield {"whole": 1 << 30, "as read": 128 << 10, "tiny": 7, "any": chance.randrange(1, 9000)}[kind]


@pytest.mark.parametrize("pieces", ["whole", "as read", "tiny", "any"])
@pytest.mark.parametrize("name", WHOLE)
def test_what_is_whole_is_unpacked_in_whatever_pieces_it_comes(name: str, pieces: str) -> None:
    assert b"".join(unpacked(in_pieces(WHOLE[name], sizes(pieces)), compression_of(name))) == TEXT


@pytest.mark.parametrize("pieces", ["whole", "as read", "tiny", "any"])
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_not_whole_is_refused_with_the_reason(name: str, pieces: str) -> None:
    packed, reason = BROKEN[name]
    with pytest.raises(Broken) as raised:
        for _ in unpacked(in_pieces(packed, sizes(pieces)), compression_of(name)):
            pass
    assert str(raised.value) == reason.format(compression_of(name))


@pytest.mark.parametrize("name", ["two members.gz", "members of bgzip.gz", "two frames.zst"])
def test_no_beginning_of_a_file_is_taken_for_all_of_it_unless_a_member_ends_there(name: str) -> None:
    packed, kind = WHOLE[name], compression_of(name)
    chance = random.Random(name)  # noqa: S311 - not a secret
    for _ in range(300):
        begun = packed[: chance.randrange(len(packed))]
        try:
            text = b"".join(unpacked([begun], kind))
        except Broken:
            continue
        rest = packed[len(begun) :]
        assert text + b"".join(unpacked([rest], kind)) == TEXT


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_file_of_very_many_members_takes_no_longer_than_its_size(kind: str) -> None:
    one = member(b"1,2\n") if kind == "gzip" else frame(b"1,2\n")
    began = time.monotonic()
    assert sum(map(len, unpacked(in_pieces(one * 100_000, sizes("as read")), kind))) == 400_000
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_what_unpacks_to_very_much_is_handed_out_bit_by_bit(kind: str) -> None:
    packed = member(bytes(64 << 20)) if kind == "gzip" else frame(bytes(64 << 20))
    assert len(packed) < 1 << 20
    assert max(map(len, unpacked([packed], kind))) <= 256 << 10
