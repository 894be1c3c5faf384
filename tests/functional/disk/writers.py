"""Clients of an NBD server that write as several threads of a guest would, and keep account."""

import random
import socket
import struct
import threading
from pathlib import Path

BLOCK = 4096
_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_READ, _WRITE, _FLUSH, _TRIM, _ZERO = 0, 1, 3, 4, 6


class Nbd:
    """One connection, one request at a time. Raises OSError for an error that the server tells."""

    def __init__(self, path: Path, timeout_s: float = 60.0) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout_s)
        self.socket.connect(str(path))
        magic, option, _flags = struct.unpack(">8s8sH", self._take(18))
        assert (magic, option) == (b"NBDMAGIC", b"IHAVEOPT")
        # Fixed newstyle without zeroes; the export without a name.
        self.socket.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))
        self.size, _flags = struct.unpack(">QH", self._take(10))

    def write(self, offset: int, data: bytes) -> None:
        self._ask(_WRITE, offset, len(data), data)

    def read(self, offset: int, length: int) -> bytes:
        return self._ask(_READ, offset, length)

    def zero(self, offset: int, length: int) -> None:
        self._ask(_ZERO, offset, length)

    def trim(self, offset: int, length: int) -> None:
        self._ask(_TRIM, offset, length)

    def flush(self) -> None:
        self._ask(_FLUSH, 0, 0)

    def close(self) -> None:
        self.socket.close()

    def _ask(self, kind: int, offset: int, length: int, data: bytes = b"") -> bytes:
        self.socket.sendall(_REQUEST.pack(0x25609513, 0, kind, 1, offset, length) + data)
        _magic, error, _cookie = _REPLY.unpack(self._take(_REPLY.size))
        if error:
            raise OSError(error, f"the server's error for request {kind} at {offset}")
        return self._take(length) if kind == _READ else b""

    def _take(self, length: int) -> bytes:
        found = b""
        while len(found) < length:
            more = self.socket.recv(length - len(found))
            if not more:
                raise ConnectionError("the server closed the connection")
            found += more
        return found


def block(number: int) -> bytes:
    """What the write of that number puts in its place."""
    return struct.pack("<Q", number) * (BLOCK // 8)


class Writers:
    """Threads that write numbered blocks at random into the first ``blocks`` of a disk.

    Each has blocks of its own, so the last number of a block that was completed, and the last one
    that was begun, are known at any time. Now and then a block is read back, or zeroed (number 0).
    """

    def __init__(
        self,
        nbd: Path,
        *,
        blocks: int = 2048,
        threads: int = 4,
        gate: threading.Event | None = None,
        after: int = 0,
    ) -> None:
        """``gate``: nothing is begun while it is not set. ``after``: no number is as low."""
        self._gate, self._after = gate, after
        self.begun = [-1] * blocks
        self.done = [-1] * blocks
        self.errors: list[BaseException] = []
        self._going = True
        self._written = threading.Condition()
        self._count = 0
        self._threads = [
            threading.Thread(target=self._run, args=(nbd, i, threads)) for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, nbd: Path, first: int, step: int) -> None:
        chance = random.Random(first)
        try:
            client = Nbd(nbd)
            while self._going:
                self._one(client, chance, chance.randrange(first, len(self.done), step))
            client.close()
        except (OSError, AssertionError) as e:
            with self._written:
                self.errors.append(e)
                self._written.notify_all()

    def _one(self, client: Nbd, chance: random.Random, place: int) -> None:
        if self._gate is not None:
            self._gate.wait()
        number = max(self.begun[place], self._after) + 1
        self.begun[place] = number
        if chance.random() < 0.05:
            client.zero(place * BLOCK, BLOCK)
            client.write(place * BLOCK, block(number))
        else:
            client.write(place * BLOCK, block(number))
        self.done[place] = number
        if chance.random() < 0.1:
            assert client.read(place * BLOCK, BLOCK) == block(number), f"block {place} is stale"
        with self._written:
            self._count += 1
            self._written.notify_all()

    def wait(self, more: int, timeout_s: float = 60.0) -> None:
        """Until that many writes more are complete. Raises what a writer met."""
        with self._written:
            goal = self._count + more
            assert self._written.wait_for(lambda: self._count >= goal or self.errors, timeout_s)
        if self.errors:
            raise self.errors[0]

    def stop(self) -> None:
        """Until every write is complete. Raises what a writer met."""
        self._going = False
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def check(self, image: Path) -> None:
        """Whether an image holds exactly what was completed."""
        assert any(number > 0 for number in self.done)
        with image.open("rb") as f:
            for place, number in enumerate(self.done):
                f.seek(place * BLOCK)
                found = f.read(BLOCK)
                assert number < 0 or found == block(number), f"block {place}, write {number}"


def number_in(image: bytes, place: int) -> int:
    """The number that the block of an image has been written with. Raises AssertionError if torn"""
    found = image[place * BLOCK : (place + 1) * BLOCK]
    (number,) = struct.unpack_from("<Q", found)
    assert found == block(number), f"block {place} is torn"
    return int(number)
