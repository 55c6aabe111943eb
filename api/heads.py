"""The head of a request as bytes: one that two programs could read differently is refused before it is parsed.

A proxy in front of the API and the API itself must agree on where a request ends, or requests can be smuggled. HTTP/1.1
(RFC 9112) lets a server repair some heads. Another program may repair them in another way, so none is repaired here.
"""

import re
from http import HTTPStatus

MOST_BYTES = 32_768
MOST_FIELDS = 100
_END = b"\r\n\r\n"
_BARE = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\x00")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
# The fields that say where the body of a request ends, or which host it is for: at most one of each.
_ONCE = (b"content-length", b"transfer-encoding", b"host")


class BadHead(Exception):
    """The head is refused, and no further request on the connection can be read."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class HeadReader:
    """Collects the bytes of one head."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    @property
    def is_empty(self) -> bool:
        """Whether no byte of the head has arrived."""
        return not self._bytes

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Add bytes. Returns the head and the bytes after it once the head is complete, None before. Raises BadHead."""
        known = len(self._bytes)
        self._bytes += data
        end = self._bytes.find(_END, max(0, known - len(_END) + 1))
        length = len(self._bytes) if end < 0 else end + len(_END)
        if _BARE.search(self._bytes, max(0, known - 1), length):
            raise _bad("A line of the head does not end with CR LF, or holds a NUL character.")
        if length > MOST_BYTES:
            raise BadHead(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The head of a request may have {MOST_BYTES:,} bytes."
            )
        if end < 0:
            if self._bytes[:1] and self._bytes[0] <= ord(" "):
                raise _bad("This is not an HTTP request.")
            return None
        head, rest = bytes(self._bytes[:length]), bytes(self._bytes[length:])
        self._bytes.clear()
        check_head(head)
        return head, rest


def check_head(head: bytes) -> None:
    """Raise BadHead for a complete head that another program could read differently."""
    request_line, *lines = head.removesuffix(_END).split(b"\r\n")
    if len(lines) > MOST_FIELDS:
        raise BadHead(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"A request may have {MOST_FIELDS} header fields.")
    if any(line[:1] in {b" ", b"\t"} for line in lines):
        raise _bad("A header field goes on in the next line, which HTTP/1.1 no longer allows.")
    fields = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    given = {name: [value for key, value in fields if key == name] for name in _ONCE}
    for name, values in given.items():
        if len(values) > 1:
            raise _bad(f"The header field {name.decode()} stands there {len(values)} times.")
    if not request_line.endswith((b" HTTP/1.1", b" HTTP/1.0")):
        raise _bad("This is not a request of HTTP/1.1.")
    _check_length(request_line, given)
    if given[b"host"] and not _HOST.fullmatch(given[b"host"][0]):
        raise _bad("The header field host does not hold a host.")


def _check_length(request_line: bytes, given: dict[bytes, list[bytes]]) -> None:
    if not all(length.isdigit() for length in given[b"content-length"]):
        raise _bad("The header field content-length does not hold a number.")
    if not given[b"transfer-encoding"]:
        return
    if given[b"content-length"]:
        raise _bad("A request has a content-length or a transfer-encoding, not both.")
    if not request_line.endswith(b"HTTP/1.1"):
        raise _bad("Only HTTP/1.1 has a transfer-encoding.")


def _bad(detail: str) -> BadHead:
    return BadHead(HTTPStatus.BAD_REQUEST, detail)
