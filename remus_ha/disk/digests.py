"""What two images have in common, without sending either: a digest of every block.

A store serves the digests of the image that it has found as an export of its own, ``EXPORT``: those
of blocks 0, 1, … one after the other, each made when it is read. An image that the store has just
made holds nothing, and its export is empty.

A digest may be older than what has been written to its block since, or be of a block that was
being written: comparing is sound all the same for whoever also sends every write that comes after
the beginning, in order. If the blocks were alike then, those writes make them alike again.
"""

import hashlib

BLOCK = 65536  # octets
LENGTH = 32  # of a digest: whoever writes into a guest must not be able to make two blocks alike
EXPORT = "digests"


def digest(block: bytes | bytearray | memoryview) -> bytes:
    return hashlib.blake2b(block, digest_size=LENGTH).digest()


def count(size: int) -> int:
    """Blocks of an image of ``size`` octets; the last one may be shorter."""
    return -(-size // BLOCK)
