"""A stand-in for libxl-save-helper: its protocol octet by octet, its deeds as a test wants them.

``install`` writes an executable that runs a scenario, a few lines of Python with ``helper`` (a
``FakeHelper``). As the real one it is single-threaded, and on SIGTERM it puts a descriptor that
cannot be written in place of the stream, so that its next write fails and it cleans up.
"""

import os
import signal
import struct
import sys
import textwrap
import time
from pathlib import Path

from remus_ha.stream.xenstream import LIBXC_CHECKPOINT

ROOT = Path(__file__).parents[3]

LOG, PROGRESS, SUSPEND, POSTCOPY, CHECKPOINT, LOGDIRTY, COMPLETE = 1, 2, 3, 4, 5, 7, 10
DEBUG, WARNING, ERROR = 1, 7, 8  # xentoollog.h

PROGRAM = """#!{python} -S
import sys
sys.path.insert(0, {root!r})
from tests.functional.hypervisor.fake_helper import *
helper = FakeHelper(sys.argv, {notes!r})
{scenario}
"""


def numbered(n: int, size: int) -> bytes:
    """An epoch of ``size`` octets: its number again and again, then the record that ends it."""
    return bytes([n % 251]) * (size - len(LIBXC_CHECKPOINT)) + LIBXC_CHECKPOINT


def install(directory: Path, scenario: str) -> str:
    """The path of a helper that runs ``scenario``; it notes things in ``directory``/notes."""
    path = directory / "libxl-save-helper"
    path.write_text(
        PROGRAM.format(
            python=sys.executable,
            root=str(ROOT),
            notes=str(directory / "notes"),
            scenario=textwrap.dedent(scenario),
        )
    )
    path.chmod(0o755)
    return str(path)


def notes(directory: Path) -> list[str]:
    """What the helper has noted so far, one line each."""
    path = directory / "notes"
    return path.read_text().splitlines() if path.exists() else []


def string(text: str) -> bytes:
    octets = text.encode() + b"\0"
    return struct.pack("<I", len(octets)) + octets


class FakeHelper:
    """One save. ``piece`` is how many octets of a message go out in one write."""

    def __init__(self, argv: list[str], path: str) -> None:
        self.argv = argv
        self._notes = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.stream = int(argv[2])
        self.piece = 65536
        self._still = False
        self._told = False
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    def _on_term(self, _signal: int, _frame: object) -> None:
        self.note("SIGTERM")
        self._told = True
        if self._still:
            os._exit(1)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, self.stream)
        os.close(null)

    def note(self, text: object) -> None:
        os.write(self._notes, f"{text}\n".encode())

    def raw(self, octets: bytes) -> None:
        for start in range(0, len(octets), self.piece):
            os.write(1, octets[start : start + self.piece])
            if self.piece < len(octets):
                time.sleep(0.001)

    def frame(self, number: int, arguments: bytes = b"") -> bytes:
        body = struct.pack("<H", number) + arguments
        return struct.pack("<H", len(body)) + body

    def say(self, number: int, arguments: bytes = b"") -> None:
        self.raw(self.frame(number, arguments))

    def ask(self, number: int, arguments: bytes = b"") -> int:
        """Ask and wait for the 32-bit answer; ends the process as the real one where none comes."""
        self.say(number, arguments)
        answer = b""
        while len(answer) < 4:
            got = os.read(0, 4 - len(answer))
            if not got:
                self.note("no answer")
                os._exit(254)
            answer += got
        value: int = struct.unpack("<i", answer)[0]
        self.note(f"{number} -> {value}")
        return value

    def log(self, level: int, text: str, context: str = "xc") -> None:
        self.say(LOG, struct.pack("<II", level, 0xFFFFFFFF) + string(context) + string(text))

    def progress(self, done: int = 1, total: int = 2) -> None:
        self.say(PROGRESS, string("xc") + string("Frames") + struct.pack("<QQ", done, total))

    def write(self, octets: bytes) -> None:
        """All of it into the stream; at an error clean up and end, as libxc does."""
        view = memoryview(octets)
        while view:
            try:
                view = view[os.write(self.stream, view) :]
            except OSError as e:
                self.note("cleaned")
                self.complete(-1, e.errno or 0)

    def complete(self, result: int = 0, error: int = 0) -> None:
        self.ask(COMPLETE, struct.pack("<ii", result, error))
        os._exit(0)

    def epoch(self, octets: bytes) -> bool:
        """One epoch; whether to go on. A refusal ends as in libxc: cleaned up and complete."""
        if self.ask(SUSPEND) != 1:
            self.note("cleaned")
            self.complete(-1, 0)
        self.write(octets)
        if self.ask(POSTCOPY) <= 0 or self.ask(CHECKPOINT) <= 0:
            self.note("cleaned")
            self.complete(0, 0)
        return True

    def stand_still(self) -> None:
        """Neither ask nor write nor end any more, but for a signal."""
        self._still = True
        if self._told:
            os._exit(1)
        signal.pause()

    def remus(self, live: bytes, size: int) -> None:
        """Epochs for ever: ``live`` before the first one, then ``numbered`` ones."""
        self.write(live)
        n = 0
        while self.epoch(numbered(n, size)):
            n += 1
