"""How a child process asks its parent for the bytes of remote files, for both sides.

Each thread of a query asks over a socket of its own: a line of JSON with a name and a range. The answer is a number of
eight bytes and as many bytes, or, with a negative number, an error as JSON.
"""

import struct

MOST_BYTES = 8 << 20
"""A child asks for no more at a time."""
LENGTH = struct.Struct(">q")
"""The number that an answer begins with."""
