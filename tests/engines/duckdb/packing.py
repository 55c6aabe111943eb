"""Files that gzip and zstd compressed, whole and broken, in the forms that occur."""

import gzip
import struct
import zlib

from backports import zstd

TEXT = b"id,n\n" + b"".join(b"%d,%d\n" % (i, i * 7919 % 1_000_000_007) for i in range(40_000))
ROWS = (40_000, sum(i * 7919 % 1_000_000_007 for i in range(40_000)))
_HALF = len(TEXT) // 2


def member(text: bytes, flags: int = 0, more: bytes = b"") -> bytes:
    """A gzip member whose header has these flags and the fields that they announce."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = packer.compress(text) + packer.flush()
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + more
    return head + packed + struct.pack("<II", zlib.crc32(text), len(text))


def frame(text: bytes, *, checksum: bool = True) -> bytes:
    """A frame of zstd."""
    return zstd.compress(text, options={zstd.CompressionParameter.checksum_flag: int(checksum)})


def flipped(packed: bytes, at: int) -> bytes:
    """The same bytes with one of them changed."""
    changed = bytearray(packed)
    changed[at] ^= 0x55
    return bytes(changed)


_GZIP = gzip.compress(TEXT, mtime=0)
_ZSTD = frame(TEXT)
_BARE = frame(TEXT, checksum=False)
_SKIPPED = struct.pack("<II", 0x184D2A5F, 5) + b"hello"
_EXTRA = struct.pack("<H", 6) + b"BC\x02\0\x01\0"
_BLOCKS = [TEXT[at : at + 30_000] for at in range(0, len(TEXT), 30_000)]

WHOLE = {
    "one.gz": _GZIP,
    "two members.gz": member(TEXT[:_HALF]) + member(TEXT[_HALF:]),
    "members of bgzip.gz": b"".join(member(block, 4, _EXTRA) for block in [*_BLOCKS, b""]),
    "empty members.gz": member(b"") + _GZIP + member(b"") + member(b""),
    "with a name.gz": member(TEXT, 8, b"numbers.csv\0"),
    "with a name and much more.gz": member(b"", 12, struct.pack("<H", 9000) + bytes(9000) + b"n" * 9000 + b"\0")
    + _GZIP,
    "not compressed.gz": gzip.compress(TEXT, 0),
    "one.zst": _ZSTD,
    "without a checksum.zst": _BARE,
    "two frames.zst": frame(TEXT[:_HALF]) + frame(TEXT[_HALF:], checksum=False),
    "with frames to pass over.zst": _SKIPPED + frame(TEXT[:_HALF]) + _SKIPPED + frame(TEXT[_HALF:]) + _SKIPPED,
    "empty frames.zst": frame(b"") + _ZSTD + frame(b""),
}

_CUT = "is cut off: it ends in the middle of its {} data."
_BEHIND = "is damaged: behind the end of its {} data are bytes that do not belong there."
_CHECKSUM = {
    "gzip": "is damaged: its gzip data cannot be unpacked (Incorrect checksum found).",
    "zstd": "is damaged: its zstd data cannot be unpacked (Restored data doesn't match checksum).",
}
_OTHER = "is damaged, or not packed by {}: it does not begin as such a file does."
_HEADER = "has a part in the header of its gzip data that is not read, such as a comment. Compress it again."
_EMPTY = "is empty, which no {} file is: it was cut off."

BROKEN = {
    "half.gz": (_GZIP[: len(_GZIP) // 2], _CUT),
    "no trailer.gz": (_GZIP[:-8], _CUT),
    "without its last byte.gz": (_GZIP[:-1], _CUT),
    "in the header.gz": (_GZIP[:5], _CUT),
    "after the header.gz": (_GZIP[:10], _CUT),
    "second member cut.gz": (member(TEXT[:_HALF]) + member(TEXT[_HALF:])[:-500], _CUT),
    "second member begun.gz": (_GZIP + b"\x1f\x8b", _CUT),
    "nothing.gz": (b"", _EMPTY),
    "another checksum.gz": (flipped(_GZIP, -6), _CHECKSUM["gzip"]),
    "another length.gz": (flipped(_GZIP, -1), _CHECKSUM["gzip"]),
    "first of two damaged.gz": (flipped(member(TEXT[:_HALF]), -6) + member(TEXT[_HALF:]), _CHECKSUM["gzip"]),
    "other data.gz": (flipped(gzip.compress(TEXT, 0), 1000), _CHECKSUM["gzip"]),
    "zeros.gz": (_GZIP + bytes(512), _BEHIND),
    "one zero.gz": (_GZIP + b"\0", _BEHIND),
    "zeros between members.gz": (member(TEXT[:_HALF]) + bytes(100) + member(TEXT[_HALF:]), _BEHIND),
    "garbage.gz": (_GZIP + b"and some garbage", _BEHIND),
    "text.gz": (TEXT, _OTHER),
    "zstd.gz": (_ZSTD, _OTHER),
    "with a comment.gz": (member(TEXT, 16, b"a comment\0"), _HEADER),
    "with a checksum of the header.gz": (member(TEXT, 2, b"\0\0"), _HEADER),
    "second with a comment.gz": (_GZIP + member(TEXT, 16, b"a comment\0"), _HEADER),
    "endless header.gz": (
        member(b"") + member(TEXT, 8, b"n" * 40_000 + b"\0"),
        "has a longer header in its gzip data than is read. Compress it again.",
    ),
    "half.zst": (_ZSTD[: len(_ZSTD) // 2], _CUT),
    "half without a checksum.zst": (_BARE[: len(_BARE) // 2], _CUT),
    "no checksum.zst": (_ZSTD[:-4], _CUT),
    "in the magic number.zst": (_ZSTD[:3], _CUT),
    "second frame cut.zst": (frame(TEXT[:_HALF]) + frame(TEXT[_HALF:])[:-500], _CUT),
    "frame to pass over cut.zst": (_ZSTD + _SKIPPED[:-2], _CUT),
    "nothing.zst": (b"", _EMPTY),
    "another checksum.zst": (flipped(_ZSTD, -1), _CHECKSUM["zstd"]),
    "other data.zst": (
        flipped(_ZSTD, len(_ZSTD) // 2),
        "is damaged: its zstd data cannot be unpacked (Data corruption detected).",
    ),
    "zeros.zst": (_ZSTD + bytes(512), _BEHIND),
    "garbage.zst": (_ZSTD + b"and some garbage", _BEHIND),
    "text.zst": (TEXT, _OTHER),
    "gzip.zst": (_GZIP, _OTHER),
}


def compression_of(name: str) -> str:
    """The compression of a file, from the end of its name."""
    return "gzip" if name.endswith(".gz") else "zstd"
